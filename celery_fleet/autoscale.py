"""Autoscaling that takes away no process that has just been given a task."""

from __future__ import annotations

from celery.worker.autoscale import Autoscaler


class FleetAutoscaler(Autoscaler):
    """Celery's autoscaler of prefork pools, which ends idle processes only.

    Celery takes a process for idle until it has read from it that it accepted a task, and ends it
    with a task that it has just begun. All of that happens in one thread, so it is enough to
    wait with ending processes while any task is on its way to one. Celery asks again later.
    """

    def _shrink(self, n: int) -> None:
        jobs = self.pool._pool._cache.values()
        if all(job.accepted() for job in jobs):
            super()._shrink(n)
