"""A scheduler class that sends under the fleet's lock, whatever it keeps its schedule in.

A class is led by a subclass that is made for one term as the active scheduler. It overrides public methods
of `celery.beat.Scheduler` only, and calls them, so that what hooks them (tracing, monitoring) sees each run.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.utils.time import maybe_make_aware
from kombu.exceptions import OperationalError

from celery_fleet.errors import PublishError
from celery_fleet.minors import PERIODIC_HEADER
from celery_fleet.publishing.producer import FleetProducer
from celery_fleet.scheduler.lock import Lock

logger = logging.getLogger(__name__)

# Seconds. When a task that was refused is tried again.
RETRY_INTERVAL = 10.0
# By how much the clocks of two hosts may differ; a last run further in the future comes from a wrong clock.
CLOCK_TOLERANCE = 60.0
# How long a run of an entry is noted that the class may have no more: longer than a takeover lasts.
MEMORY = 600.0


@dataclass
class Term:
    """One term as the active scheduler.

    Attributes:
        lock: The right to send, and the connection to send over.
        timezone: Of the application.
        link_errors: What this connection raises when it is lost.
        runs: The last run by entry, in seconds since the epoch.
        began: When it began, in seconds since the epoch.
        sent: The entries that ran in it.
        refused: Runs that the broker refused, with the time (monotonic, s) of the next attempt.
        ahead: Entries whose last run lay in the future.
        last_tick: The last run, as `state.json` has it.
        lost: What ended the connection while a task was sent.
        sending: Whether a task is on its way, so that nobody knows whether it was sent.
        over: Whether the lock is lost, and with it the right to write anything down.
    """

    lock: Lock
    timezone: tzinfo
    link_errors: tuple[type[Exception], ...] = ()
    runs: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    sent: set[str] = field(default_factory=set)
    refused: dict[str, tuple[float, ScheduleEntry]] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)
    last_tick: dict[str, Any] | None = None
    lost: BaseException | None = None
    sending: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.runs |= self.lock.runs
        if self.runs:
            name = max(self.runs, key=lambda each: self.runs[each])
            self.last_tick = {"name": name, "at": self.runs[name]}

    def adopt(self, entry: ScheduleEntry) -> None:
        """Let an entry continue after the last run that any scheduler noted, and heal a wrong clock.

        An entry that its class finds in no store begins now, as far as Celery knows. A run that lies in the
        future counts as of now: its entry would be silent until then.
        """
        last = entry.last_run_at
        own = maybe_make_aware(last).timestamp() if last else 0.0
        noted = self.runs.get(entry.name, own)
        unknown = own >= self.began and entry.name not in self.sent
        at = noted if unknown else max(own, noted)
        ahead = at - time.time()
        if ahead > CLOCK_TOLERANCE:
            logger.warning(
                "The last run of %s lies %.0f s in the future, and counts as of now: a clock was wrong",
                entry.name,
                ahead,
            )
            self.ahead.add(entry.name)
            at = self.runs[entry.name] = time.time()
        if at != own:
            entry.last_run_at = datetime.fromtimestamp(at, tz=self.timezone)


class Led(Scheduler):
    """What the subclass of a class has that sends under the lock; `led` makes it."""

    term: Term

    @property
    def producer(self) -> FleetProducer:
        """The producer that publishes over the connection that holds the lock."""
        return self.term.lock.producer

    def run_at(self, entry: ScheduleEntry) -> float:
        """Return the time as of which a run of this moment counts, in seconds since the epoch."""
        return time.time()

    def notes(self) -> dict[str, float]:
        """Return the runs that the next scheduler must learn, whose store may lack them."""
        # As Celery's tick saw them last; a class with a tick of its own may not say.
        entries = self.old_schedulers or {}
        recent = time.time() - MEMORY
        return {name: at for name, at in self.term.runs.items() if name in entries or at > recent}

    def populate_heap(self, *args: object, **options: object) -> None:
        """Order the entries by their next runs, as far as all schedulers know them."""
        for entry in self.schedule.values():
            self.term.adopt(entry)
        super().populate_heap(*args, **options)

    def is_due(self, entry: ScheduleEntry) -> Any:  # noqa: ANN401 - Celery's pair
        """Return whether an entry is due, and the seconds until it is asked again."""
        self.term.adopt(entry)
        return super().is_due(entry)

    def should_sync(self) -> bool:
        """Return False: each run is written down as soon as the broker has the task, and never before."""
        return False

    def sync(self) -> None:
        """Write the runs down, unless another scheduler may have written newer ones."""
        if not self.term.over:
            super().sync()

    def apply_async(
        self, entry: ScheduleEntry, producer: object = None, advance: bool = True, **options: object
    ) -> object:
        """Send an entry's task, with the note that it was sent, over the connection that holds the lock.

        Args:
            entry: The entry.
            producer: Of another connection, which may not send; it is replaced.
            advance: Whether the class notes the next run here. It does after the broker has the task.
            options: What else Celery takes.

        Returns:
            The task's result.

        Raises:
            SchedulingError: The task was not sent.
        """
        term, at = self.term, self.run_at(entry)
        own = entry.options
        marks = {PERIODIC_HEADER: True, **term.lock.headers({entry.name: at})}
        headers = {**(own.get("headers") or {}), **marks}
        entry.options = {**own, "headers": headers, "retry": False, "user_id": term.lock.user}
        term.sending = True
        attempts = term.lock.producer.attempts
        try:
            result = super().apply_async(entry, producer=term.lock.producer, advance=False, **options)
        except Exception as error:
            cause = (isinstance(error, SchedulingError) and error.__context__) or error
            published = term.lock.producer.attempts > attempts
            lost = isinstance(cause, (OperationalError, *term.link_errors))
            if published and lost and not isinstance(cause, PublishError):
                term.lost = cause
            elif not advance:
                logger.error("%s is tried again in %g s: %s", entry.name, RETRY_INTERVAL, cause)
                term.refused[entry.name] = (time.monotonic() + RETRY_INTERVAL, entry)
            term.sending = term.lost is not None
            raise
        finally:
            entry.options = own
        term.refused.pop(entry.name, None)
        term.ahead.discard(entry.name)
        term.runs[entry.name] = at
        term.sent.add(entry.name)
        term.last_tick = {"name": entry.name, "at": time.time()}
        if advance:
            self.reserve(entry)
        term.sending = False
        self.sync()
        return result

    def retry(self) -> None:
        """Send again what the broker refused, when its time has come."""
        now = time.monotonic()
        for at, entry in list(self.term.refused.values()):
            if at <= now and self.term.lost is None:
                self.apply_entry(entry, producer=self.producer)

    def finish(self, lost: bool) -> None:
        """End the term.

        Args:
            lost: Whether the lock is lost. What the class has not written down then stays unwritten, because
                the next scheduler may have sent it.
        """
        self.term.over = lost or self.term.sending
        self.close()


def led(scheduler: type[Scheduler], term: Term) -> type[Led]:
    """Return a subclass of a scheduler class that sends in a term.

    Args:
        scheduler: The class.
        term: The term.
    """
    bases = (scheduler,) if issubclass(scheduler, Led) else (Led, scheduler)
    return type(scheduler.__name__, bases, {"term": term, "__module__": scheduler.__module__})
