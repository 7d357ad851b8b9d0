"""What a worker or the scheduler reports in `state.json`, read as the work of another user."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from .metrics import WAIT_EDGES

# Characters of a text that are kept, and entries of a list.
LONGEST: Final = 300
MOST: Final = 10_000
# The largest whole number that JSON keeps exactly.
_HUGE: Final = 2**53


def parse(content: bytes | None) -> dict[str, Any]:
    """Return the fields of a report that are what they should be.

    Args:
        content: What the file holds; none if there is none.

    Returns:
        The fields; empty if nothing in it is a report. Texts have no control characters, numbers are finite.
    """
    try:
        document = json.loads(content or b"")
    except (ValueError, RecursionError):
        return {}
    return _fields(document, _REPORT) if isinstance(document, dict) else {}


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return "".join(character if character.isprintable() else "?" for character in value[:LONGEST])


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is not a number, or endless, is in no range; a whole number may be too large for a float.
    return value if abs(value) <= _HUGE else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _tasks(value: object) -> list[dict[str, Any]] | None:
    if not isinstance(value, list):
        return None
    tasks = [each for each in value[:MOST] if isinstance(each, dict)]
    return [dict.fromkeys(_TASK) | _fields(task, _TASK) for task in tasks]


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [text for text in map(_text, value[:MOST]) if text is not None]


def _counts(value: object) -> dict[str, int | float] | None:
    if not isinstance(value, dict):
        return None
    read = ((_text(name), _number(count)) for name, count in list(value.items())[:MOST])
    return {name: count for name, count in read if name is not None and count is not None}


def _queues(value: object) -> dict[str, dict[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    shape: Mapping[str, Callable[[object], Any]] = {"waits": _waits, "newest": _number}
    read = ((_text(name), each) for name, each in list(value.items())[:MOST])
    return {name: _fields(each, shape) for name, each in read if name and isinstance(each, dict)}


def _runs(value: object) -> dict[str, dict[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    read = ((_text(name), each) for name, each in list(value.items())[:MOST])
    moments = {"last": _number, "next": _number}
    return {name: _fields(each, moments) for name, each in read if name and isinstance(each, dict)}


def _waits(value: object) -> list[int] | None:
    if not isinstance(value, list) or len(value) != len(WAIT_EDGES) + 1:
        return None
    return value if all(type(each) is int and 0 <= each <= _HUGE for each in value) else None


def _tick(value: object) -> dict[str, Any] | None:
    return _fields(value, {"name": _text, "at": _number}) if isinstance(value, dict) else None


def _fields(values: Mapping[str, Any], table: Mapping[str, Callable[[object], Any]]) -> dict[str, Any]:
    read = {name: reader(values[name]) for name, reader in table.items() if name in values}
    return {name: value for name, value in read.items() if value is not None}


_TASK: Final[Mapping[str, Callable[[object], Any]]] = {
    "id": _text,
    "name": _text,
    "queue": _text,
    "started": _number,
    "time_limit": _number,
}
_REPORT: Final[Mapping[str, Callable[[object], Any]]] = {
    **dict.fromkeys(("pool", "instance", "node", "release", "state", "obstacle", "role", "source"), _text),
    **dict.fromkeys(("schema", "updated", "pid", "slots", "reserved", "hung", "executed", "failed"), _number),
    **dict.fromkeys(("last_task", "restarts_lost_consumer", "entries"), _number),
    "proved": _flag,
    "active": _tasks,
    "lost": _counts,
    "queues": _queues,
    "runs": _runs,
    "last_tick": _tick,
    "ahead": _texts,
}
