"""What differs between Celery 5.5, 5.6 and 5.7, each by what it has and not by its number.

Everything else of the package is the same with all of them. What can go when 5.7 is the oldest says so.
"""

from __future__ import annotations

import inspect
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from amqp.transport import SSLTransport
from celery import schedules
from celery.utils import time as celery_time
from celery.utils.time import ffwd
from celery.worker.consumer import Consumer
from celery.worker.request import Request

logger = logging.getLogger(__name__)

# Celery's own mark on what beat publishes, which it sets since 5.7.
PERIODIC_HEADER = "celery_beat_task"

# Whether Celery counts the time that is left in UTC, also in a night in which clocks are set; since 5.7.
COUNTS_REAL_TIME = hasattr(celery_time, "subtract_datetimes")

# Whether a lost connection leaves the timers alone that are not its own, such as the limits of what goes on
# running; since 5.7.
KEEPS_TIMERS = hasattr(Consumer, "_cancel_connection_timer_entries")

# Whether greenlets acknowledge at once; since 5.7. Before, they await the next message from the broker, which
# may itself wait for the acknowledgement.
ACKNOWLEDGES_AT_ONCE = hasattr(Consumer, "call_soon_ack")


# What py-amqp is told of TLS. Before 5.3 it has no such option; Python allows nothing older by itself.
TLS_MINIMUM = (
    {"tls_minimum_version": ssl.TLSVersion.TLSv1_2}
    if "tls_minimum_version" in inspect.signature(SSLTransport._wrap_socket_sni).parameters
    else {}
)


def scheduled(timer: Any) -> Iterator[tuple[Request, Any]]:  # noqa: ANN401 - Celery has no types
    """Find the tasks that a worker holds until their time has come.

    Args:
        timer: The worker's timer, of a hub or of greenlets.

    Yields:
        Each request, and what `timer.cancel` takes to forget it.
    """
    for waiting in list(timer.schedule.queue):
        entry = waiting.entry
        if entry.args and isinstance(entry.args[0], Request) and not entry.canceled:
            yield entry.args[0], entry if isinstance(waiting, tuple) else waiting


def count_real_time() -> None:
    """Let the schedulers of this process count the time that is left in UTC, as Celery 5.7 does.

    Before, an interval of a minute begins an hour late in the night in which summer time ends.
    """
    if not COUNTS_REAL_TIME:
        schedules.remaining = _remaining


def _remaining(
    start: datetime, ends_in: timedelta | ffwd, now: datetime | None = None, relative: bool = False
) -> timedelta:
    now = now or datetime.now(UTC)
    if relative:  # rounded by the clock of the wall
        left: timedelta = celery_time.remaining(start, ends_in, now, relative)
        return left
    end: datetime = (start.astimezone(UTC) if isinstance(ends_in, timedelta) else start) + ends_in
    return end.astimezone(UTC) - now.astimezone(UTC)


class ConnectionTimers:
    """Lets a hub's timers live when a connection ends, but for its own and those of tasks that it delivered.

    Celery before 5.7 forgets them all: the time limits of what goes on running, and this package's rounds.

    Args:
        hub: The worker's loop; none with greenlets, which keep neither there.
    """

    def __init__(self, hub: Any) -> None:  # noqa: ANN401 - Celery's
        self._timer: Any = None if KEEPS_TIMERS or hub is None else hub.timer
        self._before: set[Any] = set()
        self._own: set[Any] | None = set()
        if self._timer is not None:
            self._timer.clear = self._cancel

    def connecting(self) -> None:
        """Begin: what is set from now on is the connection's."""
        self._before, self._own = self._entries(), None

    def connected(self) -> None:
        """End: what is set from now on is the worker's."""
        self._own = self._entries() - self._before

    def _entries(self) -> set[Any]:
        return {waiting.entry for waiting in self._timer.queue} if self._timer else set()

    def _cancel(self) -> None:
        own = self._entries() - self._before if self._own is None else self._own
        for entry in {*own, *(entry for _, entry in scheduled(self._timer))}:
            self._timer.cancel(entry)


@contextmanager
def keeping_running_jobs(pool: Any) -> Iterator[None]:  # noqa: ANN401 - Celery's
    """Let a pool of processes know the tasks that run, whatever it forgets in this context.

    Celery 5.5 and 5.6.0 forget all of them when a connection is lost, and so never tell of their ends: their
    slots would stay taken, and a worker that stops would wait for them. This can go with those releases.

    Args:
        pool: billiard's pool.
    """
    before = dict(pool._cache)
    try:
        yield
    finally:
        pool._cache.update({key: job for key, job in before.items() if job._accepted and not job.ready()})


@contextmanager
def acknowledging_at_once(consumer: Any) -> Iterator[None]:  # noqa: ANN401 - Celery's
    """Let what is made in this context acknowledge at once where a worker has no hub.

    Args:
        consumer: Celery's consumer.
    """
    if ACKNOWLEDGES_AT_ONCE or consumer.hub:
        yield
        return

    def call(function: Callable[..., object], *args: object) -> None:
        try:
            function(*args)
        except Exception:  # as Celery does with what it calls later
            logger.exception("A message could not be settled")

    consumer.call_soon = call
    try:
        yield
    finally:
        del consumer.call_soon
