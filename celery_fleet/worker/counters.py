"""What a worker counts of its tasks, in its main process and without a message to the broker.

All execution pools tell of a start and an end there. An end is counted before it is acknowledged, so no task
that is gone from its queue is missing. Names of tasks and classes of exceptions can be made up without end:
only the first ones have series of their own.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from billiard.pool import EX_OK, EX_RECYCLE
from celery.worker.request import Request

from celery_fleet.worker.counter_file import CounterFile
from celery_fleet.worker.gate import Ending
from celery_fleet.worker.orders import Instance
from celery_fleet.worker.waits import WAIT_EDGES, RecentWaits, waits_since

VARIABLE = "CELERY_FLEET_COUNTERS"

# Seconds: upper edges of the buckets. The kit has the same (plugins/module_utils/fleet/host/metrics.py).
RUNTIME_EDGES = (
    0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800,
)  # fmt: skip
STATES = ("success", "failure", "retry", "rejected", "ignored", "revoked")
REASONS = ("exception", "soft_time_limit", "time_limit", "lost", "rejected")

# Names with series of their own; failures by task, reason and class together.
MOST_TASKS = 200
MOST_EXCEPTIONS = 50
MOST_FAILURES = 800
MOST_QUEUES = 100
OTHER = "other"

# Seconds by which clocks may differ before it is counted.
SKEW = 0.1

# The figures of a pool, by their places.
POOL = (
    "busy_seconds",
    "slot_seconds",
    "prefetch_seconds",
    "prefetched",
    "returned",
    "refused",
    "consumer_losses",
    "reconnects",
    "recycled",
    "killed",
    "error",
)
_PREFETCH = POOL.index("prefetch_seconds")
_STATE = {state.upper(): place for place, state in enumerate(STATES)}
# Of a task: ends by state, then the sum of runtimes, then their buckets.
_SUM = len(STATES)
_TASK = _SUM + 1 + len(RUNTIME_EDGES) + 1
# Of a queue: ends by state, tasks delivered again, waits of clocks that differ, the sum of waits, buckets.
_AGAIN, _SKEWED, _WAITED = range(len(STATES), len(STATES) + 3)
_QUEUE = _WAITED + 1 + len(WAIT_EDGES) + 1


class Counters:
    """Counts what a worker does. All methods may be called from any thread.

    Args:
        path: Where the figures are kept; none: in memory.

    Attributes:
        waits: How long tasks have waited of late.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = CounterFile(path)
        self._lock = threading.Lock()
        self._tasks: dict[str, int] = {}
        self._queues: dict[str, int] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._cells = self._file.cells
        self._pool = self._file.series("pool", figures=len(POOL)) or 0
        # These have their room before others can take it.
        self._other_task = self._file.series("task", OTHER, figures=_TASK) or 0
        self._other_queue = self._file.series("queue", OTHER, figures=_QUEUE) or 0
        self._other_failure = {
            reason: self._file.series("failure", OTHER, reason, OTHER, figures=1) or 0 for reason in REASONS
        }
        for kind, *name in self._file.names():
            self._take(kind, *name)
        self._exceptions = {exception for _, _, exception in self._failures}
        self._running = self._slots = 0
        self._since = time.monotonic()
        self.waits = RecentWaits()

    @classmethod
    def of(cls, instance: Instance, environment: Mapping[str, str] = os.environ) -> Counters:
        """Return the counters of a worker, which go on from those of the last one with its number.

        Args:
            instance: The worker as its unit made it.
            environment: Says in which directory its pool has its counters.
        """
        directory = environment.get(VARIABLE)
        number = instance.name.rpartition("_")[2]
        return cls(Path(directory, number) if directory and number.isdecimal() else None)

    def count(self, name: str, amount: float = 1) -> None:
        """Count something of the whole pool.

        Args:
            name: One of `POOL`.
            amount: How much it grows.
        """
        with self._lock:
            self._cells[self._pool + POOL.index(name)] += amount

    def serves(self, queues: Iterable[str]) -> None:
        """Begin with these queues at zero, so that whoever looks again and again sees their first task, too.

        Args:
            queues: What the worker consumes.
        """
        with self._lock:
            for queue in queues:
                self._queue(queue)

    def child_exited(self, status: int | None) -> None:
        """Count the end of a process of the pool; one that was not needed any more does not count.

        Args:
            status: Its exit code, or minus a signal's number.
        """
        if status is not None and status != EX_OK:
            self.count("recycled" if status == EX_RECYCLE else "killed" if status < 0 else "error")

    def passed(self, running: int, slots: int) -> None:
        """Count the time since the last call.

        Args:
            running: How many tasks run from now on.
            slots: How many may, from now on.
        """
        with self._lock:
            self._pass(running)
            self._slots = slots

    def started(self, request: Request, queue: str, running: int) -> None:
        """Count the start of a task, and how long it has waited.

        Args:
            request: The task.
            queue: Where it came from.
            running: How many tasks run with it.
        """
        now, message = time.time(), request.message
        again = bool(message.delivery_info.get("redelivered") or message.headers.get("x-delivery-count"))
        since = None if again else waits_since(request)
        monotonic = time.monotonic()
        prefetched = monotonic - request.__dict__.get("received", monotonic)
        with self._lock:
            self._pass(running)
            cells, pool = self._cells, self._pool
            cells[pool + _PREFETCH] += prefetched
            cells[pool + _PREFETCH + 1] += 1
            row = self._queue(queue)
            cells[row + _AGAIN] += again
            if since is not None:
                wait = max(0.0, now - since)
                bucket = bisect_left(WAIT_EDGES, wait)
                cells[row + _SKEWED] += now - since < -SKEW
                cells[row + _WAITED] += wait
                cells[row + _WAITED + 1 + bucket] += 1
                self.waits.add(queue if row != self._other_queue else OTHER, bucket, min(since, now))

    def ended(self, request: Request, queue: str, ending: Ending, running: int) -> None:
        """Count the end of a task.

        Args:
            request: The task.
            queue: Where it came from.
            ending: How it ended.
            running: How many tasks run without it.
        """
        name, state, runtime = request.name, _STATE[ending.state], ending.runtime
        with self._lock:
            self._pass(running)
            cells = self._cells
            row = self._task(name)
            cells[row + state] += 1
            if runtime or ending.state != "REVOKED":
                cells[row + _SUM] += runtime
                cells[row + _SUM + 1 + bisect_left(RUNTIME_EDGES, runtime)] += 1
            cells[self._queue(queue) + state] += 1
            if ending.reason:
                cells[self._failure(name, ending)] += 1

    def _pass(self, running: int) -> None:
        now = time.monotonic()
        cells, passed = self._cells, now - self._since
        cells[self._pool] += passed * self._running
        # A worker that takes no tasks has the slots of those that it still runs.
        cells[self._pool + 1] += passed * max(self._slots, self._running)
        self._running, self._since = running, now

    def _task(self, name: str) -> int:
        row = self._tasks.get(name)
        if row is None and len(self._tasks) < MOST_TASKS:
            row = self._take("task", name)
        return self._other_task if row is None else row

    def _queue(self, name: str) -> int:
        row = self._queues.get(name)
        if row is None and len(self._queues) < MOST_QUEUES:
            row = self._take("queue", name)
        return self._other_queue if row is None else row

    def _failure(self, task: str, ending: Ending) -> int:
        exception = ending.exception
        if exception not in self._exceptions:
            if len(self._exceptions) < MOST_EXCEPTIONS:
                self._exceptions.add(exception)
            else:
                exception = OTHER
        name = (task if task in self._tasks else OTHER, ending.reason, exception)
        row = self._failures.get(name)
        if row is None and len(self._failures) < MOST_FAILURES:
            row = self._take("failure", *name)
        return self._other_failure[ending.reason] if row is None else row

    def _take(self, kind: str, *name: str) -> int | None:
        """Give a series its room, if there is any, and remember where."""
        row = self._file.series(kind, *name, figures={"task": _TASK, "queue": _QUEUE}.get(kind, 1))
        if row is not None and kind == "task":
            self._tasks[name[0]] = row
        elif row is not None and kind == "queue":
            self._queues[name[0]] = row
        elif row is not None and kind == "failure":
            self._failures[name[0], name[1], name[2]] = row
        return row
