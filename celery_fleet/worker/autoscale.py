"""Autoscaling that takes away no process that has just been given a task."""

from __future__ import annotations

from celery.concurrency.prefork import TaskPool
from celery.worker.autoscale import Autoscaler


class FleetAutoscaler(Autoscaler):
    """Celery's autoscaler of prefork pools, which ends idle processes only.

    Celery takes a process for idle until it has read from it that it accepted a task, and ends it
    with a task that it has just begun. All of that happens in one thread, so it is enough to
    wait with ending processes while any task is on its way to one. Celery asks again later.
    """

    def _grow(self, n: int) -> None:
        super()._grow(n)
        self.worker.consumer.fit()

    def _shrink(self, n: int) -> None:
        if may_shrink(self.pool):
            super()._shrink(n)
            self.worker.consumer.fit()


def may_shrink(pool: TaskPool) -> bool:
    """Tell whether a pool of processes knows which of them are idle."""
    jobs = pool._pool._cache.values()
    return all(bool(job.accepted()) for job in jobs)
