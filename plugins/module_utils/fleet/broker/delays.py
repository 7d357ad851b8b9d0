"""Celery's native delays: a chain of exchanges and queues, one for each bit of a delay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..model.names import DELAYED
from ..model.types import Pool
from .objects import POLICY_PREFIX, binding_of, exchange_of, queue_of

DELIVERY: Final = f"{DELAYED}delivery"
DELAY_LEVELS: Final = 28
DELAY_ENTRY: Final = f"{DELAYED}{DELAY_LEVELS - 1}"


def has_delays(pools: Iterable[Pool]) -> bool:
    """Return whether Celery sends delayed tasks through the broker's delay exchanges.

    It does so for every topic exchange as soon as any queue is a quorum queue.

    Args:
        pools: All pools of the fleet.

    Returns:
        Whether the delay exchanges are needed.
    """
    all_pools = list(pools)
    return any(p.queue_type == "quorum" for p in all_pools) and any(
        p.exchange_type == "topic" for p in all_pools
    )


# kombu's delay exchanges: a chain of topic exchanges and queues, one for each bit of the delay in
# seconds; see kombu/transport/native_delayed_delivery.py, whose declarations these must equal.


def delay_exchanges() -> list[dict[str, Any]]:
    """Return the exchanges of the chain, and the one that delivers."""
    return [
        exchange_of(name, "topic") for name in (*(f"{DELAYED}{n}" for n in range(DELAY_LEVELS)), DELIVERY)
    ]


def delay_queues() -> list[dict[str, Any]]:
    """Return the queues of the chain: each holds a message for its bit's seconds and passes it on."""
    return [
        queue_of(
            f"{DELAYED}{level}",
            "quorum",
            **{
                "x-overflow": "reject-publish",
                "x-message-ttl": 2**level * 1000,
                "x-dead-letter-exchange": f"{DELAYED}{level - 1}" if level else DELIVERY,
                "x-dead-letter-strategy": "at-least-once",
            },
        )
        for level in range(DELAY_LEVELS)
    ]


def delay_policy(room: int) -> dict[str, Any]:
    """Return the policy of all queues of the chain; their other limits are arguments.

    A full one refuses publishers. From the one above it nothing is lost: that keeps what has no room below.

    Args:
        room: Bytes of tasks that each of them may hold.
    """
    return {
        "name": f"{POLICY_PREFIX}{DELAYED}",
        "pattern": f"^{DELAYED}[0-9]+$",
        "apply_to": "queues",
        "priority": 0,
        "definition": {"max-length-bytes": room},
    }


def delay_bindings() -> list[dict[str, Any]]:
    """Return the bindings that lead a message through its bits and to its delivery."""
    bindings = []
    for level in range(DELAY_LEVELS):
        name = f"{DELAYED}{level}"
        below = f"{DELAYED}{level - 1}" if level else DELIVERY
        skipped = "*." * (DELAY_LEVELS - 1 - level)
        bindings.append(binding_of(name, name, f"{skipped}1.#"))
        bindings.append(binding_of(name, below, f"{skipped}0.#", "exchange"))
    return bindings
