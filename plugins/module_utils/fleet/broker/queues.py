"""A queue's figures as the broker reports them, for the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host.status import seconds_since


def queue(reported: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the figures of a queue that the status shows.

    Args:
        reported: One entry of ``/api/queues``.
        now: Seconds since the epoch.

    Returns:
        Plain figures; none where the broker reports none.
    """
    stats = reported.get("message_stats") or {}

    def rate(name: str) -> float:
        return round(float((stats.get(f"{name}_details") or {}).get("rate") or 0), 1)

    return {
        "name": reported["name"],
        # With dead letters that wait for room in their own queue.
        "messages": reported.get("messages"),
        "exclusive": bool(reported.get("exclusive")),
        "ready": reported.get("messages_ready"),
        "unacked": reported.get("messages_unacknowledged"),
        "consumers": reported.get("consumers"),
        "in_per_s": rate("publish"),
        "out_per_s": rate("ack"),
        "oldest_s": seconds_since(reported.get("head_message_timestamp"), now),
    }
