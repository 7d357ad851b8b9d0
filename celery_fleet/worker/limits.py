"""A task's time limits in its pool: its own, as far as the pool grants them."""

from __future__ import annotations

import logging

from celery.worker.request import Request

from celery_fleet.fleet import Pool
from celery_fleet.worker.intake import clean

logger = logging.getLogger(__name__)

# Tasks that were warned of; one that makes up names must not fill the memory.
_MOST = 1000


class Limits:
    """Gives each task its own limits, as far as its pool grants them, or those of the pool.

    How long the broker waits and how long a worker may take to stop follow from the pool's hard limit. A task
    that ran longer would be delivered again while it runs, and be killed by a deploy.

    Args:
        pool: The pool; none: there are no limits but the tasks' own.

    Attributes:
        hard: The pool's hard limit (seconds).
    """

    def __init__(self, pool: Pool | None) -> None:
        self._pool = pool
        self.hard = pool.time_limit if pool else None
        self._warned: set[str] = set()

    def apply(self, request: Request) -> None:
        """Set a request's limits, and warn once of each task that asks for more.

        Args:
            request: A task that is about to be given to the pool.
        """
        pool = self._pool
        if pool is None:
            return
        asked_hard, asked_soft = request.time_limits
        hard = asked_hard or request.task.time_limit or pool.time_limit
        soft = asked_soft or request.task.soft_time_limit or pool.soft_time_limit
        # A soft limit that is not below the hard one would never come.
        granted = (min(hard, pool.time_limit), soft if soft < pool.time_limit else pool.soft_time_limit)
        request.time_limits = granted
        if granted != (hard, soft) and len(self._warned) < _MOST and request.name not in self._warned:
            self._warned.add(request.name)
            asked = f"{hard} s (hard) and {soft} s (soft)"
            logger.warning(
                "Task %s asks for limits of %s; its pool grants %s and %s",
                clean(request.name),
                asked,
                *granted,
            )
