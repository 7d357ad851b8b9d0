"""Exchanges, queues, bindings and policies as the broker's HTTP API writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from ..model.names import DEAD
from ..model.types import Pool

VERIFY_KEY: Final = "answer"
# Marks a policy as the model's own, so that it is removed when the model no longer has it.
POLICY_PREFIX: Final = "celery_fleet."


def dead_letter_queue(pool: Pool) -> str:
    """Return the name of the queue for a pool's dead letters."""
    return f"{pool.exchange}{DEAD}"


def exchange_of(name: str, kind: str) -> dict[str, Any]:
    """Return a durable exchange."""
    return {
        "name": name,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def queue_of(name: str, kind: str, **arguments: object) -> dict[str, Any]:
    """Return a durable queue with its type and further arguments."""
    return {
        "name": name,
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": kind, **arguments},
    }


def binding_of(source: str, destination: str, key: str, kind: str = "queue") -> dict[str, Any]:
    """Return a binding from an exchange."""
    return {
        "source": source,
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "arguments": {},
    }


def without_doubles(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items, each once, in the order of their first appearance."""
    unique: list[dict[str, Any]] = []
    for item in items:
        if item not in unique:
            unique.append(item)
    return unique


def policy_of(queue: str, definition: dict[str, Any]) -> dict[str, Any]:
    """Return the policy of one queue."""
    return {
        "name": f"{POLICY_PREFIX}{queue}",
        "pattern": f"^{re.escape(queue)}$",
        "apply_to": "queues",
        "priority": 0,
        "definition": definition,
    }
