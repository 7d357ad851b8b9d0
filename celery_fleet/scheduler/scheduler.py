"""The fleet's scheduler for `celery beat`: several run, one at a time sends, and all know what was sent."""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery
from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from kombu.exceptions import OperationalError

from celery_fleet import connection, fleet_file
from celery_fleet.errors import PublishError
from celery_fleet.scheduler import schedule
from celery_fleet.scheduler.lock import Lock
from celery_fleet.state_file import StateFile
from celery_fleet.systemd import START_EXTENSION, STOPPING, WATCHDOG, Notifier

logger = logging.getLogger(__name__)

# Seconds.
HEARTBEAT = 10
LONGEST_PAUSE = 1.0
# How often the same is reported, as a sign of life.
REPORT_INTERVAL = 10.0
# How often all runs are written into one message, which lets go of those before it.
SAVE_INTERVAL = 60.0
# When a full queue is tried again.
RETRY_INTERVAL = 10.0
# By how much the clocks of two hosts may differ; a last run further in the future comes from a wrong clock.
CLOCK_TOLERANCE = 60.0


class FleetScheduler(Scheduler):
    """Celery's scheduler with the model's entries beside the application's own, and the fleet's lock.

    Given to `celery beat --scheduler`. It reads `beat.json` and `fleet.json`, is its own user at the
    broker, and tells systemd and `state.json` in its runtime directory how it is.
    """

    def __init__(self, app: Celery, *args: object, **options: Any) -> None:  # noqa: ANN401 - Celery's
        self._file = schedule.load()
        self._fleet = fleet_file.load()
        fleet_file.read_password(self._file.password_file)  # so that a process that cannot ends here
        self._systemd = Notifier.from_environment()
        directory = os.environ.get("RUNTIME_DIRECTORY")
        self._state_file = StateFile(Path(directory) / "state.json" if directory else None)
        self._lock: Lock | None = None
        self._leads = self._ticking = self._stopping = False
        self._obstacle = ""
        self._said: tuple[object, ...] = ()
        self._said_at = self._saved_at = float("-inf")
        self._last_tick: dict[str, Any] | None = None
        self._retries: dict[str, float] = {}
        self._ahead: set[str] = set()
        super().__init__(app, *args, **options)

    def setup_schedule(self) -> None:
        """Lay the model's entries over the application's own, and both over Celery's."""
        self.install_default_entries(self.app.conf.beat_schedule)
        self.update_from_dict(self.app.conf.beat_schedule)
        self.update_from_dict(self._file.entries)

    def tick(self, *_: object, **__: object) -> float:
        """Do one round: hold or await the lock, and send what is due; the waiting is done in here.

        Returns:
            0, for Celery need not wait.
        """
        if self._stopping:
            raise SystemExit
        self._ticking = True
        try:
            lock = self._lock or self._connect()
            lock.wait(self._pause() if self._leads else LONGEST_PAUSE)
            if lock.active:
                self._lead(lock)
        except (*self._link_errors(), OperationalError) as error:
            logger.warning("The scheduler has no connection or lock: %s", error)
            self._obstacle = str(error) or type(error).__name__
            self._release()
            self._report()
            time.sleep(LONGEST_PAUSE)
        finally:
            self._ticking = False
        self._report()
        return 0

    def close(self) -> None:
        """Release the lock; the next scheduler sends what is due meanwhile."""
        self._stopping = True
        self._systemd.send(STOPPING)
        # Celery's signal handler calls this in the middle of a round, ends that, and calls it again.
        if not self._ticking:
            self._release()
        super().close()

    def _connect(self) -> Lock:
        broker = self._fleet.broker
        options = connection.transport_options(broker, self._file.password_file)
        self._link = connection.connect(
            connection.urls(broker, self._file.user),
            connect_timeout=connection.CONNECT_TIMEOUT,
            transport_options=options,
            heartbeat=HEARTBEAT,
        )
        others = len(broker.nodes) - 1
        self._link.ensure_connection(
            self._not_yet, max_retries=others, interval_start=0.2, callback=self._report
        )
        exchange = self._fleet.addresses()[self._fleet.routing.periodic_queue][0].exchange
        self._lock = Lock(self._link, self._file.queue, exchange, self._file.user)
        self._obstacle = ""
        return self._lock

    def _not_yet(self, error: Exception, interval: float) -> None:
        self._obstacle = str(error)

    def _link_errors(self) -> tuple[type[Exception], ...]:
        link = self.__dict__.get("_link")
        return (OSError, *(link.connection_errors + link.channel_errors if link else ()))

    def _release(self) -> None:
        self._lock, self._leads = None, False
        link = self.__dict__.pop("_link", None)
        if link is not None:
            link.release()

    def _lead(self, lock: Lock) -> None:
        if not self._leads:
            self._adopt(lock.runs)
            self._leads = True
            self._saved_at = float("-inf")
            logger.info("This is the scheduler now, of %d entries", len(self.schedule))
        for entry in list(self.schedule.values()):
            self._correct_clock(entry)
            if self._retries.get(entry.name, 0) <= time.monotonic() and self._wait(entry) <= 0:
                self._send(entry, lock)
        if time.monotonic() - self._saved_at > SAVE_INTERVAL:
            lock.save({entry.name: entry.last_run_at.timestamp() for entry in self.schedule.values()})
            self._saved_at = time.monotonic()

    def _adopt(self, runs: Mapping[str, float]) -> None:
        """Continue from where another scheduler stopped; an entry that is new begins now."""
        for entry in self.schedule.values():
            at = runs.get(entry.name)
            entry.last_run_at = entry.default_now() if at is None else self._time(at)
            self._correct_clock(entry)
        noted = [entry for entry in self.schedule.values() if entry.name in runs]
        last = max(noted, key=lambda entry: entry.last_run_at.timestamp(), default=None)
        self._last_tick = last and {"name": last.name, "at": last.last_run_at.timestamp()}

    def _correct_clock(self, entry: ScheduleEntry) -> None:
        """Let a run that lies in the future count as of now: its entry would be silent until then."""
        ahead = entry.last_run_at.timestamp() - time.time()
        if ahead > CLOCK_TOLERANCE:
            logger.warning(
                "The last run of %s lies %.0f s in the future, and counts as of now: a clock was wrong",
                entry.name,
                ahead,
            )
            entry.last_run_at = self._time(time.time())
            self._ahead.add(entry.name)

    def _time(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, tz=self.app.timezone)

    def _wait(self, entry: ScheduleEntry) -> float:
        """Return the seconds until an entry is due."""
        try:
            due, pause = self.is_due(entry)
        except Exception:  # an entry whose next run can't be found must not stop the others
            due, pause = self._is_due_failed(entry)
        return 0.0 if due else float(pause)

    def _pause(self) -> float:
        now = time.monotonic()
        waits = (
            max(self._wait(each), self._retries.get(each.name, 0) - now) for each in self.schedule.values()
        )
        return min([LONGEST_PAUSE, *waits])

    def _send(self, entry: ScheduleEntry, lock: Lock) -> None:
        at = schedule.ran(entry.schedule, entry.last_run_at, entry.default_now())
        noted = copy.copy(entry)
        headers = {**entry.options.get("headers", {}), **lock.headers({entry.name: at.timestamp()})}
        noted.options = {**entry.options, "headers": headers, "retry": False, "user_id": lock.user}
        try:
            self.apply_async(noted, producer=lock.producer, advance=False)
        except SchedulingError as error:
            cause: BaseException = error.__context__ or error
            lost = isinstance(cause, (OperationalError, *self._link_errors()))
            if lost and not isinstance(cause, PublishError):
                raise cause from None
            logger.error("%s was not sent, and is tried again in %g s: %s", entry.name, RETRY_INTERVAL, cause)
            self._retries[entry.name] = time.monotonic() + RETRY_INTERVAL
            return
        self._retries.pop(entry.name, None)
        self._ahead.discard(entry.name)
        entry.last_run_at = at
        self._last_tick = {"name": entry.name, "at": time.time()}
        logger.info("Sent %s (%s), as of %s", entry.name, entry.task, at.isoformat())

    def _report(self) -> None:
        role = "waiting" if self._lock is None else "active" if self._leads else "standby"
        now = time.monotonic()
        if (role, self._obstacle, self._last_tick) == self._said and now - self._said_at < REPORT_INTERVAL:
            return
        self._said, self._said_at = (role, self._obstacle, self._last_tick), now
        told = {"waiting": f"Waiting for the broker: {self._obstacle}", "standby": "Another is the scheduler"}
        tick = f", last sent {self._last_tick['name']}" if self._last_tick else ""
        text = told.get(role, f"The scheduler of {len(self.schedule)} entries{tick}")
        ready = [START_EXTENSION] if role == "waiting" else ["READY=1"]
        self._systemd.send(*ready, WATCHDOG, f"STATUS={text}")
        self._state_file.write(
            {
                "role": role,
                "obstacle": self._obstacle,
                "release": Path(sys.prefix).resolve().parent.name,
                "pid": os.getpid(),
                "entries": len(self.schedule),
                "last_tick": self._last_tick,
                "ahead": sorted(self._ahead),
            },
            at_once=True,
        )
