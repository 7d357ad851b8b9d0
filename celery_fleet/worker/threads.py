"""An execution pool of threads that keeps the limits of tasks, as far as a thread can be held to them.

Python has no way to end a thread. A soft limit is raised in the thread of its task, as soon as that executes
Python again; a blocking call keeps it until it returns. At the hard limit the task has failed for all others:
another thread takes over its slot, and what the thread of the task still does counts no more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.concurrency.base import BasePool

from celery_fleet.worker.job import Job, TaskAbandonedError

logger = logging.getLogger(__name__)

# Seconds between looks at the limits of what runs.
INTERVAL = 0.2
# Seconds between attempts to end a thread whose task has ended for all others. After the first it hangs.
PERSISTENCE = 5.0


class TaskPool(BasePool):
    """Celery's pool of threads with time limits, and with tasks that can be terminated.

    It starts a thread whenever none is idle: the gate before it keeps the number of tasks, and a thread that
    hangs must not cost a slot. Threads are daemons, so that one that hangs does not keep the process.
    """

    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's
        super().__init__(*args, **options)
        self._condition = threading.Condition()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Threads that wait, without those for which there is something in the queue.
        self._idle = 0
        self._untold = 0
        self._running: set[Job] = set()
        self._watched = threading.Event()

    @property
    def hung(self) -> int:
        """How many threads go on with a task that has ended for all others."""
        with self._condition:
            return sum(job.hung for job in self._running)

    def on_start(self) -> None:
        """Begin to look after limits."""
        threading.Thread(target=self._watch, name="time limits", daemon=True).start()

    def on_apply(
        self,
        target: Callable[..., object],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
        callback: Callable[[object], object] = lambda _: None,
        accept_callback: Callable[[int, float], object] | None = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        timeout_callback: Callable[[bool, float], object] | None = None,
        **_: object,
    ) -> Job:
        """Run a task in a thread, at once."""
        work = partial(target, *args, **(kwargs or {}))
        job = Job(self.abandon, work, callback, accept_callback, timeout_callback, timeout, soft_timeout)
        with self._condition:
            self._untold += 1
        self._do(partial(self._run, job))
        return job

    def on_stop(self) -> None:
        """Wait until every task has ended; its own thread may hang."""
        with self._condition:
            self._condition.wait_for(lambda: not self._untold)
            for _ in range(self._idle):
                self._queue.put(None)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Do nothing: Celery calls the job's own `terminate` next."""

    def abandon(self, job: Job, told: Callable[[], object]) -> None:
        """End a task whose thread goes on.

        Args:
            job: The task.
            told: Tells of its end; in another thread, since it may have to wait for a result backend.
        """
        job.next_attempt = time.monotonic() + PERSISTENCE
        if job.ends(told):
            self._do(partial(self._tell, told))
            job.interrupt(TaskAbandonedError)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        with self._condition:
            busy = len(self._running)
            return info | {"threads": max(self._idle, 0) + busy}

    def _do(self, work: Callable[[], None]) -> None:
        """Do something in a thread that has nothing to do, or in a new one."""
        with self._condition:
            new = self._idle <= 0
            self._idle -= not new
        if new:
            try:
                threading.Thread(target=self._serve, name="tasks", daemon=True).start()
            except RuntimeError as error:  # no more threads than its slice may have
                logger.error("A task waits for a thread: %s", error)
                with self._condition:
                    self._idle -= 1
        self._queue.put(work)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work  # with the task's arguments
            with self._condition:
                if self._idle >= self.limit:
                    return
                self._idle += 1

    def _run(self, job: Job) -> None:
        if job.ended:  # an operator was faster
            return
        try:
            if job.accepted is not None:
                job.accepted(os.getpid(), time.monotonic())
        except Exception:
            logger.exception("The start of a task cannot be told")
        with self._condition:
            self._running.add(job)
            self._watched.set()
        outcome = job.run()
        with self._condition:
            self._running.discard(job)
            if not self._running:
                self._watched.clear()
        if not job.abandoned:
            self._tell(partial(job.callback, outcome))

    def _tell(self, told: Callable[[], object]) -> None:
        try:
            told()
        except Exception:  # the result backend's, or one of the application's signal handlers
            logger.exception("The end of a task cannot be told")
        finally:
            with self._condition:
                self._untold -= 1
                self._condition.notify_all()

    def _watch(self) -> None:
        while self._watched.wait():
            self._look()
            time.sleep(INTERVAL)

    def _look(self) -> None:
        with self._condition:
            running = list(self._running)
        for job in running:
            try:
                self._enforce(job, time.monotonic())
            except Exception:
                logger.exception("The limits of a task were not looked at")

    def _enforce(self, job: Job, now: float) -> None:
        if job.begun is None:
            return
        if job.ended:
            if job.abandoned and now >= job.next_attempt:
                job.next_attempt = now + PERSISTENCE
                job.hung = True
                job.interrupt(TaskAbandonedError)
        elif job.timeout and now - job.begun >= job.timeout:
            self.abandon(job, partial(job.timed_out, False, job.timeout))
        elif job.soft_timeout and now - job.begun >= job.soft_timeout:
            limit, job.soft_timeout = job.soft_timeout, None
            job.interrupt(SoftTimeLimitExceeded)
            job.timed_out(True, limit)
