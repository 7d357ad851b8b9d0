"""How long tasks wait in the queues, from what all workers report of those that they started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..host.exposition import quantile
from ..host.metrics import WAIT_EDGES

SHARE: Final = 0.95


def of_queue(queue: Mapping[str, Any], instances: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Derive a queue's waits.

    Tasks leave a queue in the order in which they came. So none that waits, and was not delivered before,
    came earlier than the newest of those that workers have started.

    Args:
        queue: The queue as the broker reports it.
        instances: The workers of all hosts.

    Returns:
        ``wait_p95_s``: seconds that 95 of 100 tasks have waited at most, of those that were started in the
        last five to ten minutes; ``oldest_at_most_s``: seconds that the oldest waiting task may have waited.
        None where it is not known; the latter where nothing waits, too.
    """
    reports = [each["queues"][queue["name"]] for each in instances if queue["name"] in each["queues"]]
    buckets = [
        sum(counts) for counts in zip(*(each["waits"] for each in reports if each["waits"]), strict=True)
    ]
    wait = quantile(SHARE, WAIT_EDGES, buckets)
    newest = [each["newest_s"] for each in reports if each["newest_s"] is not None]
    return {
        "wait_p95_s": None if wait is None else round(wait, 3),
        "oldest_at_most_s": min(newest, default=None) if queue["ready"] else None,
    }
