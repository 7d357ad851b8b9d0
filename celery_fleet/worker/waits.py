"""How long tasks have waited: since when each does, and what the last minutes were like."""

from __future__ import annotations

import time
from typing import Any

from celery.worker.request import Request

from celery_fleet.publishing import published

# Seconds: upper edges of the buckets. The kit has the same (plugins/module_utils/fleet/host/metrics.py).
WAIT_EDGES = (0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)

# Seconds that the recent waits are of, at least; at most twice as long.
WINDOW = 300.0

# Seconds since the epoch; no publisher has it.
_LATEST = 2**33


class RecentWaits:
    """How long the tasks of each queue have waited, of those that were started in the last minutes."""

    def __init__(self) -> None:
        self._windows: list[dict[str, list[int]]] = [{}, {}]
        self._newest: dict[str, float] = {}
        self._next = time.monotonic() + WINDOW

    def add(self, queue: str, bucket: int, since: float) -> None:
        """Add a task.

        Args:
            queue: Where it came from.
            bucket: The place of its wait among those that `WAIT_EDGES` part.
            since: When it began to wait (seconds since the epoch).
        """
        buckets = self._windows[-1].get(queue)
        if buckets is None:
            buckets = self._windows[-1][queue] = [0] * (len(WAIT_EDGES) + 1)
        buckets[bucket] += 1
        self._newest[queue] = max(since, self._newest.get(queue, 0.0))

    def document(self) -> dict[str, Any]:
        """Return for each queue its waits by bucket, and when the newest of its tasks began to wait."""
        if time.monotonic() >= self._next:
            self._windows = [self._windows[-1], {}]
            self._next = time.monotonic() + WINDOW
        none = [0] * (len(WAIT_EDGES) + 1)
        return {
            queue: {
                "waits": [
                    sum(each) for each in zip(*(w.get(queue, none) for w in self._windows), strict=True)
                ],
                "newest": newest,
            }
            for queue, newest in list(self._newest.items())
        }


def waits_since(request: Request) -> float | None:
    """Return when a task began to wait: when it was published, or later, when it was to start.

    Args:
        request: The task.

    Returns:
        Seconds since the epoch; none if its publisher does not say.
    """
    since = request.request_dict.get(published.HEADER)
    if isinstance(since, bool) or not isinstance(since, int | float) or not 0 < since < _LATEST:
        return None
    try:
        return max(float(since), request.eta.timestamp()) if request.eta else float(since)
    except (OverflowError, ValueError, OSError):  # a time that no clock shows
        return float(since)
