"""What a worker reports: its status and signs of life, `state.json`, each task's end in the journal."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from amqp.exceptions import ConsumerCancelled
from celery.worker.request import Request

from celery_fleet.state_file import StateFile
from celery_fleet.systemd import START_EXTENSION, STOPPING, WATCHDOG, Notifier
from celery_fleet.worker.counters import Counters
from celery_fleet.worker.gate import Ending, Gate
from celery_fleet.worker.journal import Journal
from celery_fleet.worker.orders import STATE, Instance
from celery_fleet.worker.phase import Condition, Phase

# Seconds between status texts, and so at most between two signs of life.
INTERVAL = 10.0


class Report:
    """Tells systemd, the operator's verbs and the journal how the worker is.

    Args:
        condition: The worker's condition.
        gate: Where its tasks are.
        hostname: The name of its node.
        instance: The worker as its unit made it.
        queue_of: Names the queue that a task came from.
        reserved: Counts the tasks that it holds and has not begun.
        time_limit: Seconds that a task may run whose message and definition say nothing.
        hung: Counts the threads that go on with a task that has ended.

    Attributes:
        counters: What it has done.
    """

    def __init__(
        self,
        condition: Condition,
        gate: Gate,
        hostname: str,
        instance: Instance,
        queue_of: Callable[[Request], str],
        reserved: Callable[[], int],
        time_limit: float | None,
        hung: Callable[[], int] = lambda: 0,
    ) -> None:
        self._condition = condition
        self._gate = gate
        self._hostname = hostname
        self._instance = instance
        self._queue_of = queue_of
        self._reserved = reserved
        self._time_limit = time_limit
        self._hung = hung
        self.counters = Counters.of(instance)
        self.systemd = Notifier.from_environment()
        self._journal = Journal.from_environment()
        self._file = StateFile(None if instance.directory is None else instance.directory / STATE)
        self._announced = False  # over this connection
        self._next = 0.0
        self._executed = self._failed = self._lost_consumers = 0
        self._last_task: float | None = None
        self._lost: Counter[str] = Counter()

    def status(self) -> str:
        """Return the line that `systemctl status` shows."""
        active = len(self._gate.running)
        match self._condition.phase:
            case Phase.STOPPING:
                return f"Stopping: {active} active"
            case Phase.CONSUMING:
                return f"Consuming: {active} active, {self._reserved()} reserved"
            case Phase.PAUSED:
                return f"Paused: {active} active"
        obstacle = f": {self._condition.obstacle}" if self._condition.obstacle else ""
        return f"Waiting for the broker{obstacle}"

    def document(self) -> dict[str, Any]:
        """Return what `state.json` holds."""
        condition = self._condition
        return {
            "pool": self._instance.pool,
            "instance": self._instance.name,
            "node": self._hostname,
            "release": self._instance.release,
            "pid": os.getpid(),
            "state": str(condition.phase),
            "obstacle": condition.reason,
            "slots": condition.slots,
            "active": sorted(map(self._task, self._gate.running), key=lambda task: str(task["id"])),
            "reserved": self._reserved(),
            "hung": self._hung(),
            "executed": self._executed,
            "failed": self._failed,
            "lost": dict(self._lost),
            "last_task": self._last_task,
            "proved": condition.proved,
            "restarts_lost_consumer": self._lost_consumers,
            "queues": self.counters.waits.document(),
        }

    def write(self, *, at_once: bool = False) -> None:
        """Write `state.json` unless nothing is new, and count the time."""
        condition = self._condition
        self.counters.passed(self._gate.active, condition.slots if condition.consuming else 0)
        self._file.write(self.document(), at_once=at_once)

    def notify(self) -> None:
        """Notify systemd that a connected worker is ready, and then that it lives."""
        condition, now = self._condition, time.monotonic()
        if not condition.proved or condition.stopping:
            return
        # The canary of a pool of threads may end between the round's look at it and here.
        if condition.may_consume and not condition.consuming:
            return
        if not self._announced:
            self._announced = condition.ready = True
            self.systemd.send("READY=1", WATCHDOG, f"STATUS={self.status()}")
        elif now >= self._next:
            self.systemd.send(WATCHDOG, f"STATUS={self.status()}")
        else:
            return
        self._next = now + min(INTERVAL, (self.systemd.watchdog or INTERVAL) / 3)

    def notify_waiting(self) -> None:
        """Notify systemd that a worker without a broker lives, and needs more time to start."""
        condition = self._condition
        # systemd switches the watchdog off for a stop, and a sign of life would switch it on again.
        life = [] if condition.stopping else [WATCHDOG]
        start = [] if condition.ready else [START_EXTENSION]
        self.systemd.send(*life, *start, f"STATUS={self.status()}")

    def notify_stopping(self) -> None:
        """Notify systemd that the worker has begun to stop."""
        self.systemd.send(STOPPING, f"STATUS={self.status()}")

    def connection_lost(self, error: Exception) -> None:
        """Count a lost connection, and whether the broker had no consumer of this worker any more."""
        self.counters.count("reconnects")
        if isinstance(error, ConsumerCancelled):
            self._lost_consumers += 1
            self.counters.count("consumer_losses")

    def connection_closed(self) -> None:
        """Announce the worker again over the next connection."""
        self._announced = False

    def task_started(self, request: Request) -> None:
        """Count a task's start.

        Args:
            request: The task.
        """
        self.counters.started(request, self._queue_of(request), self._gate.active)

    def task_ended(self, request: Request, ending: Ending) -> None:
        """Count a task's end, and write it to the journal.

        Args:
            request: The task.
            ending: How it ended.
        """
        queue = self._queue_of(request)
        self.counters.ended(request, queue, ending, self._gate.active - 1)
        self._executed += bool(request.time_start)
        self._failed += ending.failed
        self._lost.update([request.name] * ending.lost)
        self._last_task = time.time()
        self._journal.write(
            f"Task {request.name}[{request.id}] ended: {ending.state} after {ending.runtime:.3f} s",
            failed=ending.failed,
            TASK_NAME=request.name,
            TASK_ID=request.id,
            RUNTIME=f"{ending.runtime:.6f}",
            QUEUE=queue,
            POOL=self._instance.pool,
            STATE=ending.state,
        )

    def _task(self, request: Request) -> dict[str, Any]:
        return {
            "id": request.id,
            "name": request.name,
            "queue": self._queue_of(request),
            "started": request.time_start,
            "time_limit": request.time_limits[0] or request.task.time_limit or self._time_limit,
        }
