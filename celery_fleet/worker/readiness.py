"""Whether a worker's execution pool runs tasks at all, which it must prove before it takes one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from celery.concurrency.base import BasePool

from celery_fleet.worker.phase import Condition

logger = logging.getLogger(__name__)

# Seconds in which the execution pool must have run the canary.
TIMEOUT = 30.0

EX_FAILURE = 1

# Runs the canary; calls the one when it has run, the other with the reason when it failed.
Run = Callable[[Callable[[], None], Callable[[str], None]], None]


class SelfTest:
    """Lets the execution pool run a canary, once.

    Args:
        condition: The worker's condition, which is told of the success.
        run: Gives the canary to the pool.
        passed: Called when it has run.
    """

    def __init__(self, condition: Condition, run: Run, passed: Callable[[], None]) -> None:
        self._condition = condition
        self._run = run
        self._passed = passed
        self._started: float | None = None
        self._failure = ""

    def check(self) -> str:
        """Begin the test, or see how it stands.

        Returns:
            Why the test has failed; empty as long as it has not.
        """
        if self._started is None:
            self._started = time.monotonic()
            self._run(self._succeed, self._fail)
        elif not self._failure and time.monotonic() - self._started > TIMEOUT:
            self._failure = f"no answer for {TIMEOUT:g} s"
        return "" if self._condition.proved else self._failure

    def _succeed(self) -> None:
        if not self._failure:
            self._condition.proved = True
            self._passed()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason or "for no reason"


def give_up(pool: BasePool, reason: str) -> None:
    """End the process at once: what holds its pool up would hold up a proper end, and nothing can be lost.

    Args:
        pool: The execution pool.
        reason: Why it did not run the canary.
    """
    logger.critical("The execution pool did not run its canary: %s. No task was taken.", reason)
    logging.shutdown()
    if pool.uses_semaphore:
        pool.terminate()
    os._exit(EX_FAILURE)
