"""What the broker tells of a queue, for the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host.status import seconds_since


def queue(told: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the figures of a queue, as the management API reports it, that a person asks for.

    Args:
        told: One entry of ``/api/queues``.
        now: Seconds since the epoch.

    Returns:
        Plain figures; none where the broker does not tell.
    """
    stats = told.get("message_stats") or {}

    def rate(name: str) -> float:
        return round(float((stats.get(f"{name}_details") or {}).get("rate") or 0), 1)

    return {
        "name": told["name"],
        "ready": told.get("messages_ready"),
        "unacked": told.get("messages_unacknowledged"),
        "consumers": told.get("consumers"),
        "in_per_s": rate("publish"),
        "out_per_s": rate("ack"),
        "oldest_s": seconds_since(told.get("head_message_timestamp"), now),
    }
