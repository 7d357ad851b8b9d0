"""Datasets that the demo makes for itself, so that its tasks have something real to read on any host."""

import csv
import datetime
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

from demo.files import inside, replacing

POINTS = 8_000
EVENTS = 40_000
FIRST_DAY = datetime.date(2025, 1, 1)
DAYS = 90

Row = list[str]


def dataset(path: str) -> Path:
    """Return the file of a dataset, made first if it is one of the demo's own and absent.

    The demo's own are `samples/points-<any>.csv` (six features and a label) and
    `samples/events-<any>.csv` (day, user, amount); a name always gives the same rows.

    Args:
        path: Path of the dataset, relative to the demo's directory.

    Raises:
        FileNotFoundError: Neither there nor one of the demo's own.
        ValueError: The path leads out of the demo's directory.
    """
    file = inside(path)
    if file.exists():
        return file
    if file.parent == inside("samples") and file.suffix == ".csv":
        # Made data, not a secret: the seed makes every host's copy the same.
        chance = random.Random(zlib.crc32(file.name.encode()))  # noqa: S311
        if file.name.startswith("points-"):
            return _write(file, _points(chance))
        if file.name.startswith("events-"):
            return _write(file, _events(chance))
    raise FileNotFoundError(f"no dataset {file}")


def _write(file: Path, rows: Iterator[Row]) -> Path:
    with replacing(file) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file


def _points(chance: random.Random) -> Iterator[Row]:
    weights = [chance.uniform(-2, 2) for _ in range(6)]
    yield [*(f"x{column}" for column in range(1, 7)), "label"]
    for _ in range(POINTS):
        point = [chance.gauss(0, 1) for _ in weights]
        score = sum(w * x for w, x in zip(weights, point, strict=True)) + chance.gauss(0, 0.5)
        yield [*(f"{x:.4f}" for x in point), str(int(score > 0))]


def _events(chance: random.Random) -> Iterator[Row]:
    yield ["day", "user", "amount"]
    for _ in range(EVENTS):
        day = FIRST_DAY + datetime.timedelta(days=chance.randrange(DAYS))
        yield [day.isoformat(), f"user{chance.randrange(200):03}", f"{chance.expovariate(0.05):.2f}"]
