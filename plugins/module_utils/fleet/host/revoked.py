"""Which tasks are cancelled on a host: a file of orders that workers read, now and whenever they start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

SCHEMA: Final = 1
Document = dict[str, Any]


def read(text: str) -> Document:
    """Read the file of orders; what is unreadable counts as none.

    Args:
        text: Its content; empty if there is no file.
    """
    try:
        document = json.loads(text) if text.strip() else {}
        return {"schema": SCHEMA, "ids": dict(document["ids"]), "tasks": list(document["tasks"])}
    except (ValueError, KeyError, TypeError):
        return {"schema": SCHEMA, "ids": {}, "tasks": []}


def order(
    document: Mapping[str, Any],
    ids: Iterable[str],
    tasks: Iterable[str],
    *,
    terminate: bool,
    until: float,
    now: float,
) -> Document:
    """Add orders, and drop those whose time is over.

    Args:
        document: The orders so far.
        ids: Tasks by their ids.
        tasks: Patterns of tasks' names; of these what was published until now is cancelled.
        terminate: Whether what runs is ended.
        until: When the orders end, in seconds since the epoch.
        now: The present time.
    """
    common = {"until": until, "terminate": terminate}
    patterns = dict.fromkeys(tasks)
    return {
        "schema": SCHEMA,
        "ids": {
            **{id: each for id, each in document["ids"].items() if each["until"] > now},
            **{id: dict(common) for id in ids},
        },
        "tasks": [
            *(each for each in document["tasks"] if each["until"] > now and each["name"] not in patterns),
            *({"name": name, "before": now, **common} for name in patterns),
        ],
    }


def lift(document: Mapping[str, Any], ids: Sequence[str], tasks: Sequence[str], now: float) -> Document:
    """Take orders back: these, or all if none are named.

    Args:
        document: The orders so far.
        ids: Tasks by their ids.
        tasks: The patterns of the orders.
        now: The present time, since orders whose time is over are dropped too.
    """
    everything = not ids and not tasks
    return {
        "schema": SCHEMA,
        "ids": {
            id: each
            for id, each in document["ids"].items()
            if each["until"] > now and not everything and id not in ids
        },
        "tasks": [
            each
            for each in document["tasks"]
            if each["until"] > now and not everything and each["name"] not in tasks
        ],
    }


def matching(
    active: Iterable[Mapping[str, Any]], ids: Sequence[str], tasks: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Return those of the running tasks that are meant.

    Args:
        active: Tasks as workers report them, each with ``id`` and ``name``.
        ids: Tasks by their ids.
        tasks: Patterns of tasks' names.
    """
    return [
        each
        for each in active
        if each["id"] in ids or any(fnmatchcase(str(each["name"]), pattern) for pattern in tasks)
    ]
