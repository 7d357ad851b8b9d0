"""What a worker that stops still runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def unfinished(unit: str, state: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """Return the tasks that an instance still runs, for a person.

    Args:
        unit: Its unit.
        state: What it reports.
        now: Seconds since the epoch.

    Returns:
        For each its ``unit``, ``task``, ``id``, ``queue``, ``age`` and ``limit`` (seconds).
    """
    return [
        {
            "unit": unit,
            "task": task["name"],
            "id": task["id"],
            "queue": task["queue"],
            "age": max(0, round(now - (task["started"] or now))),
            "limit": task["time_limit"],
        }
        for task in state.get("active", ())
    ]


def unfinished_text(tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write unfinished work as lines for a person.

    Args:
        tasks: What ``unfinished`` returned; an entry without a task is a unit that reports none.
    """
    return [
        f"{entry['unit']}: {entry['task']} [{entry['id']}] on {entry['queue']}, runs for {entry['age']} s"
        + (f" of at most {entry['limit']:g}" if entry["limit"] else "")
        if entry.get("task")
        else f"{entry['unit']}: is ending"
        for entry in tasks
    ]
