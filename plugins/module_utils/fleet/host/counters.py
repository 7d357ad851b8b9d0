"""The counters of a host's workers, read as the work of other users and summed by pool.

A worker keeps them in a file of its own, which the next one with its number takes over
(`celery_fleet/worker/counter_file.py` writes it).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from . import foreign
from .metrics import EXITS, REASONS, RUNTIME_EDGES, STATES, WAIT_EDGES

MAGIC: Final = b"CFLEET01"
# Workers of a pool; their numbers are the lowest that are free.
MOST_WORKERS: Final = 32
# Series of a file that are read, and characters of a part of a name.
MOST: Final = 2000
LONGEST: Final = 120

# The figures of a pool in the order of the file, by the metric that each is.
POOL: Final = (
    "busy_seconds_total",
    "slot_seconds_total",
    "task_prefetch_seconds_sum",
    "task_prefetch_seconds_count",
    "returned_tasks_total",
    "refused_messages_total",
    "consumer_losses_total",
    "broker_reconnects_total",
)
_TASK: Final = len(STATES) + 1 + len(RUNTIME_EDGES) + 1
_QUEUE: Final = len(STATES) + 3 + len(WAIT_EDGES) + 1
# By the first part of a series' name: how many parts follow, and how many figures it has.
SHAPES: Final[Mapping[str, tuple[int, int]]] = {
    "pool": (0, len(POOL) + len(EXITS)),
    "task": (1, _TASK),
    "queue": (1, _QUEUE),
    "failure": (3, 1),
}
_WORD: Final = 8
_HEADER: Final = struct.Struct("=8sQ")
_SERIES: Final = struct.Struct("=QQ")

# Figures by the name of their series.
Figures = dict[tuple[str, ...], list[float]]


class CountersError(Exception):
    """A file holds no counters."""


def parse(content: bytes) -> Figures:
    """Return what a file holds.

    Args:
        content: Its content, of whoever wrote it.

    Raises:
        CountersError: It is of another release of the kit, or broken.
    """
    try:
        return dict(_series(content))
    except (struct.error, UnicodeDecodeError) as error:
        raise CountersError(str(error)) from error


def _series(content: bytes) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    magic, end = _HEADER.unpack_from(content)
    if magic != MAGIC or end > len(content):
        raise CountersError("not of this release")
    place = _HEADER.size
    for _ in range(MOST):
        if place >= end:
            return
        length, count = _SERIES.unpack_from(content, place)
        start = place + _SERIES.size
        if start + length > end or count * _WORD > end:
            raise CountersError("broken")
        kind, *name = content[start : start + length].decode().split("\0")
        start += -(-length // _WORD) * _WORD
        place = start + count * _WORD
        figures = list(struct.unpack_from(f"={count}d", content, start))
        if SHAPES.get(kind) != (len(name), count) or (kind == "failure" and name[1] not in REASONS):
            raise CountersError(f"no such series: {kind!r:.20}")
        if not all(math.isfinite(figure) and figure >= 0 for figure in figures):
            raise CountersError("a figure is no count")
        yield (kind, *map(_clean, name)), figures
    raise CountersError("too many series")


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:LONGEST])


def add(sum_of: Figures, figures: Figures) -> None:
    """Add the counters of one worker to those of its pool.

    Args:
        sum_of: The pool's, which become larger.
        figures: The worker's.
    """
    for name, values in figures.items():
        before = sum_of.get(name)
        sum_of[name] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]


def read(directory: Path) -> tuple[Figures, int]:
    """Read the counters of a pool.

    Args:
        directory: Where its workers have theirs.

    Returns:
        Their sums, and how many files could not be read.
    """
    pool: Figures = {}
    errors = 0
    for name in map(str, range(1, MOST_WORKERS + 1)):
        if not (directory / name).is_symlink() and not (directory / name).exists():
            continue
        try:
            add(pool, parse(foreign.read(directory, name) or b""))
        except CountersError:
            errors += 1
    return pool, errors
