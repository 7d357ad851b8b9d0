"""Entries of hosts' journals as lines for a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .terminal import harmless

# Celery begins its lines with the time, which the journal has.
_CELERY_TIME = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: ")


def line(host: str, entry: Mapping[str, Any], width: int) -> str:
    """Write an entry.

    Args:
        host: Where it was logged.
        entry: The entry, as the module `worker_logs` returns it.
        width: Columns of the longest host's name.

    Returns:
        Its time (UTC), host, pool and text. Further lines of the text are set off, so that none passes for an
        entry of its own.
    """
    time = datetime.fromtimestamp(entry["time"] / 1e6, UTC)
    head = f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03} {host:{width}}  {entry['pool']:8}"
    text = _CELERY_TIME.sub("[", harmless(entry["text"]))
    return harmless(head) + "  " + text.rstrip("\n").replace("\n", "\n    | ")


def lines(logs: Mapping[str, Iterable[Mapping[str, Any]]], most: int) -> list[str]:
    """Write the entries of several hosts, merged by their times.

    Args:
        logs: Each host's entries.
        most: The most entries, of which the last are shown.

    Returns:
        The lines; the first says if earlier entries are left out.
    """
    merged = sorted(
        ((host, entry) for host, entries in logs.items() for entry in entries),
        key=lambda each: each[1]["time"],
    )
    width = max(map(len, logs), default=0)
    shown = [line(host, entry, width) for host, entry in merged[-most:]]
    if len(merged) >= most:
        shown.insert(0, f"the last {most} entries; -e logs_lines=… shows more")
    return shown
