"""The ledgers of a load: what was confirmed, what ran, what ran again, and how long nothing did."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

SETTLED: Final = 15.0
"""Seconds after an event's end that still count as its own."""


class Key(NamedTuple):
    """A task of a run."""

    kind: str
    number: int


@dataclass(frozen=True)
class Sent:
    """A task that the broker confirmed, with what its publisher met before."""

    key: Key
    id: str
    begun: float
    at: float
    errors: Mapping[str, int]


@dataclass(frozen=True)
class Ran:
    """One execution of a task."""

    key: Key
    id: str
    at: float
    node: str
    redelivered: bool


@dataclass(frozen=True)
class Event:
    """A fault or a verb, from when it was begun until all was whole again.

    Attributes:
        name: What a reader is told.
        begin: When it was begun.
        end: When all was whole again.
        kind: What sort of event it is; empty where it doesn't matter.
        hosts: Those that it touches; none means all of them.
    """

    name: str
    begin: float
    end: float
    kind: str = ""
    hosts: Sequence[str] = ()

    def holds(self, at: float) -> bool:
        """Whether a moment belongs to it."""
        return self.begin <= at <= self.end + SETTLED


@dataclass(frozen=True)
class Run:
    """All that is known of a run."""

    sent: Sequence[Sent]
    ran: Sequence[Ran]
    events: Sequence[Event]


REDELIVERED: Final = "delivered again"
PUBLISHED_AGAIN: Final = "published again"
UNEXPLAINED: Final = "unexplained"


def read(directory: Path) -> Run:
    """Read a run's ledgers and events.

    Args:
        directory: Holds `sent-*.jsonl`, `ran-*.jsonl` and `events.json`.

    Returns:
        The run.

    Raises:
        ValueError: A line of a ledger is no record.
    """
    sent = [
        Sent(_key(line), line["id"], line["begun"], line["at"], line["errors"])
        for line in _lines(directory, "sent-*.jsonl")
    ]
    ran = [
        Ran(_key(line), line["id"], line["at"], line["node"], line["redelivered"])
        for line in _lines(directory, "ran-*.jsonl")
    ]
    events = [
        Event(**event | {"hosts": tuple(event.get("hosts", ()))})
        for event in json.loads((directory / "events.json").read_text())
    ]
    return Run(sent, ran, events)


class Again(NamedTuple):
    """An execution beyond the first of its task, with that first one and the cause."""

    ran: Ran
    first: Ran
    cause: str


def repeated(run: Run) -> list[Again]:
    """Return the executions beyond the first of each task, each with its cause.

    Args:
        run: The run.

    Returns:
        Each with its cause: the broker delivered the message again, after the connection that had it was
        lost; or it was published again, because its publisher never got the confirmation of the first.
    """
    by_task: dict[Key, list[Ran]] = defaultdict(list)
    for each in sorted(run.ran, key=lambda ran: ran.at):
        by_task[each.key].append(each)
    tried_again = {each.key for each in run.sent if each.errors}
    return [
        Again(each, first, _cause(each, first, tried_again))
        for first, *others in by_task.values()
        for each in others
    ]


def _cause(each: Ran, first: Ran, tried_again: set[Key]) -> str:
    # Whichever of two deliveries ran first: one of them was the second delivery.
    if each.id == first.id and (each.redelivered or first.redelivered):
        return REDELIVERED
    return PUBLISHED_AGAIN if each.id != first.id or each.key in tried_again else UNEXPLAINED


def lost(run: Run) -> list[Key]:
    """Find the confirmed tasks that never ran.

    Args:
        run: The run.

    Returns:
        Their keys, sorted.
    """
    return sorted({each.key for each in run.sent} - {each.key for each in run.ran})


def longest_gap(times: Iterable[float], begin: float) -> float:
    """Find the longest time without an execution.

    Args:
        times: When there was one, in any order.
        begin: From when on.

    Returns:
        Seconds.
    """
    return max((after - before for before, after in pairwise(sorted([begin, *times]))), default=0.0)


def extent(run: Run) -> tuple[float, float]:
    """Find when a run began and ended.

    Args:
        run: The run.

    Returns:
        The moments of its first and its last line; zeros if it has none.
    """
    times = [each.at for each in run.sent] + [each.at for each in run.ran]
    return (min(times), max(times)) if times else (0.0, 0.0)


def _lines(directory: Path, pattern: str) -> Iterable[dict[str, Any]]:
    for path in sorted(directory.glob(pattern)):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number} is no record: {line!r}") from error


def _key(line: Mapping[str, Any]) -> Key:
    return Key(line["kind"], line["number"])
