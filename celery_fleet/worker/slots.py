"""How many tasks a worker runs at once: the slots that it was ordered to have; its pool follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery.concurrency.prefork import TaskPool
from celery.worker.autoscale import Autoscaler
from celery.worker.request import Request

from celery_fleet.minors import keeping_running_jobs
from celery_fleet.worker.gate import Gate
from celery_fleet.worker.orders import Orders
from celery_fleet.worker.phase import Condition

logger = logging.getLogger(__name__)

# Seconds in which a process that is not busy begins what it was given; it takes it milliseconds.
SETTLE_TIMEOUT = 1.0


class Slots:
    """The slots of a worker, and the processes, threads or greenlets that fill them.

    Args:
        condition: The worker's condition, which is told the number.
        gate: Hands out no more tasks than there are slots.
        pool: The execution pool.
        controller: Celery's worker, which knows the range of an autoscaler.
    """

    def __init__(self, condition: Condition, gate: Gate, pool: Any, controller: Any) -> None:  # noqa: ANN401 - Celery's
        self._condition = condition
        self._gate = gate
        self._pool = pool
        self._controller = controller
        autoscale = getattr(controller, "autoscale", None)
        self._arguments: int = autoscale[0] if autoscale else pool.limit
        condition.slots = self._arguments

    @property
    def has_processes(self) -> bool:
        """Whether the pool is one of processes."""
        return bool(self._pool.uses_semaphore)

    @property
    def hung(self) -> int:
        """How many threads go on with a task that has ended for all others."""
        return getattr(self._pool, "hung", 0)

    @property
    def worn(self) -> bool:
        """Whether so many threads hang that the process is to be replaced."""
        worn = 0 < self._condition.slots <= self.hung
        if worn:
            logger.error(
                "This worker ends with what it runs, to be started again: %d threads hang", self.hung
            )
        return worn

    def obey(self, orders: Orders) -> bool:
        """Apply the ordered number of slots.

        Args:
            orders: What the operator orders.

        Returns:
            Whether it is another one than before.
        """
        ordered = self._arguments if orders.slots is None else orders.slots
        slots = max(0, ordered - orders.taken)
        if slots == self._condition.slots:
            return False
        logger.info("This worker has %d slots instead of %d", slots, self._condition.slots)
        self._condition.slots = slots
        return True

    def free_greenlets(self) -> None:
        """Let the gate alone keep the number of greenlets; a full pool would hold up the loop."""
        if self._pool.is_green:
            self._pool._pool = self._pool.Pool()
            self._pool._quick_put = self._pool._pool.spawn

    def watch_processes(self, ended: Callable[[int | None], None]) -> None:
        """Tell of the end of each process.

        Args:
            ended: Called with its exit code, or minus a signal's number.
        """
        if not self.has_processes:
            return
        pool = self._pool._pool
        down = pool.on_process_down

        def on_process_down(process: Any) -> None:  # noqa: ANN401 - billiard's
            ended(process.exitcode)
            down(process)

        pool.on_process_down = on_process_down

    def fit_gate(self) -> None:
        """Hand out no more tasks than there are slots, nor than there are processes to run them."""
        slots = self._condition.slots
        if self.has_processes:
            slots = min(slots, self._pool.num_processes)
        self._gate.set(slots=slots, is_open=self._condition.consuming)

    def fit_pool(self) -> None:
        """Grow the pool to the number of slots, or shrink it as far as its processes are idle."""
        pool, slots = self._pool, max(self._condition.slots, 1)
        autoscaler = getattr(self._controller, "autoscaler", None)
        if autoscaler is not None:
            least = self._controller.autoscale[1]
            autoscaler.max_concurrency, autoscaler.min_concurrency = slots, min(least, slots)
        elif self.has_processes:
            if slots > pool.num_processes:
                pool.grow(slots - pool.num_processes)
            elif slots < pool.num_processes and may_shrink(pool):
                idle = pool.num_processes - len(self._gate.running)
                if excess := min(pool.num_processes - slots, idle):
                    pool.shrink(excess)
        else:
            pool.limit = slots
        self.fit_gate()

    def forget(self, request: Request) -> None:
        """Drop the job of a task that could not be sent to a process; the pool would wait for its start."""
        if self.has_processes:
            for job in list(self._pool._pool._cache.values()):
                if job.correlation_id == request.id:
                    job.discard()

    def settle(self) -> None:
        """Wait until the processes begin what they were sent, and drop what they do not begin.

        Celery's pool is about to forget every task that no process has said to have begun, and would never
        tell the end of those that a process begins all the same: their slots would be lost.
        """
        if not self.has_processes:
            return
        pool, begun = self._pool._pool, time.monotonic()
        while True:
            waiting = {
                # A pool that is being closed gives no job.
                request: request._apply_result and request._apply_result()
                for request in self._gate.running
                if not request.time_start
            }
            sent = [job for job in waiting.values() if job and job._write_to and job._write_to._is_alive()]
            if not sent or time.monotonic() - begun > SETTLE_TIMEOUT:
                break
            for job in sent:
                if writer := getattr(job, "_writer", lambda: None)():  # it is written in part
                    pool._flush_writer(job._write_to, writer)
                pool.process_flush_queues(job._write_to)
        for request, job in waiting.items():
            if job:
                job.discard()
            self._gate.release(request)

    def keeping_running_tasks(self) -> AbstractContextManager[None]:
        """Return a context in which the pool may forget what it has not begun, and nothing else."""
        return keeping_running_jobs(self._pool._pool) if self.has_processes else nullcontext()


class FleetAutoscaler(Autoscaler):
    """Celery's autoscaler of prefork pools, which ends idle processes only.

    Celery takes a process for idle until it has read from it that it accepted a task, and ends it
    with a task that it has just begun. All of that happens in one thread, so it is enough to
    wait with ending processes while any task is on its way to one. Celery asks again later.
    """

    def _grow(self, n: int) -> None:
        super()._grow(n)
        self.worker.consumer.slots.fit_gate()

    def _shrink(self, n: int) -> None:
        if may_shrink(self.pool):
            super()._shrink(n)
            self.worker.consumer.slots.fit_gate()


def may_shrink(pool: TaskPool) -> bool:
    """Return whether a pool of processes knows which of them are idle."""
    jobs = pool._pool._cache.values()
    return all(bool(job.accepted()) for job in jobs)
