"""Work on tables that may be large: aggregated per user, imported into a database."""

import csv
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TypedDict

BATCH = 2_000
"""Rows of one transaction."""


class Total(TypedDict):
    """What one user did."""

    events: int
    amount: float


def aggregate(path: Path, first: str, last: str) -> dict[str, Total]:
    """Add up the events of each user.

    Args:
        path: A CSV file with the columns day, user, amount.
        first: First day, as 2025-01-31.
        last: Last day, itself included.

    Returns:
        Users in order, those without an event left out.

    Raises:
        ValueError: The last day is before the first.
    """
    if last < first:
        raise ValueError(f"the range ends ({last}) before it begins ({first})")
    totals: dict[str, Total] = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if first <= row["day"] <= last:
                total = totals.setdefault(row["user"], {"events": 0, "amount": 0.0})
                total["events"] += 1
                total["amount"] += float(row["amount"])
    return dict(sorted(totals.items()))


def import_csv(path: Path, database: Path, source: str, batch: int = BATCH) -> int:
    """Stream a CSV file into a database, a batch at a time.

    The key of a row is its file and line, so a file that is imported again replaces its own rows.

    Args:
        path: A CSV file with the columns day, user, amount.
        database: An SQLite file, made if absent.
        source: Name of the file within the database.
        batch: Rows of one transaction.

    Returns:
        How many rows the database has of this file.

    Raises:
        sqlite3.OperationalError: Another import held the database for more than 60 seconds.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=60)) as connection, path.open(newline="") as stream:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS events (source TEXT, line INTEGER, day TEXT, user TEXT, amount REAL,"
            " PRIMARY KEY (source, line)) WITHOUT ROWID"
        )
        rows = (
            (source, line, row["day"], row["user"], float(row["amount"]))
            for line, row in enumerate(csv.DictReader(stream), 1)
        )
        line = 0
        while chunk := list(itertools.islice(rows, batch)):
            with connection:
                connection.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", chunk)
            line = chunk[-1][1]
        with connection:
            connection.execute("DELETE FROM events WHERE source = ? AND line > ?", (source, line))
    return line
