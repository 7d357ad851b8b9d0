"""The fleet's scheduler for `celery beat`: several run, one at a time sends, and all know what was sent."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from kombu.exceptions import OperationalError

from celery_fleet import connection, files, fleet_file, minors, nodes
from celery_fleet.errors import FleetError
from celery_fleet.scheduler import classes, schedule
from celery_fleet.scheduler.led import CLOCK_TOLERANCE, RETRY_INTERVAL, Led, Term, led
from celery_fleet.scheduler.lock import Lock
from celery_fleet.scheduler.memory import LONGEST_PAUSE
from celery_fleet.scheduler.runs import runs
from celery_fleet.settings.enforce import override
from celery_fleet.state_file import StateFile
from celery_fleet.systemd import START_EXTENSION, STOPPING, WATCHDOG, Notifier

logger = logging.getLogger(__name__)

# Seconds.
HEARTBEAT = 10
# How often the same is reported, as a sign of life.
REPORT_INTERVAL = 10.0
# How often all runs are written into one message, which lets go of those before it.
SAVE_INTERVAL = 60.0


class SchedulerClassError(FleetError):
    """The scheduler class of the application failed."""


class FleetScheduler(Scheduler):
    """Holds the fleet's lock, and lets a scheduler class send while it does.

    Given to `celery beat --scheduler`. It reads `beat.json` and `fleet.json`, is its own user at the
    broker, and tells systemd and `state.json` in its runtime directory how it is. The class that sends is the
    application's `beat_scheduler`; without one it is the kit's, which needs no store. It is made anew for
    each term with the lock, so that it begins with what its store holds then.
    """

    # RedBeat asks for it, and would wait for a lock of its own.
    lock_key = None

    def __init__(self, app: Celery, *args: object, **options: Any) -> None:  # noqa: ANN401 - Celery's
        self._file = schedule.load()
        self._fleet = fleet_file.load()
        files.read_password(self._file.password_file)  # so that a process that cannot ends here
        self._systemd = Notifier.from_environment()
        directory = os.environ.get("RUNTIME_DIRECTORY")
        self._state_file = StateFile(Path(directory) / "state.json" if directory else None)
        self._class = classes.chosen(app)
        self._lock: Lock | None = None
        self._inner: Led | None = None
        self._ticking = self._stopping = False
        self._obstacle = ""
        self._reported: tuple[object, ...] = ()
        self._reported_at = self._saved_at = float("-inf")
        self._next = 0.0
        self._options = {"schedule_filename": app.conf.beat_schedule_filename, **options}
        self._failed = False
        minors.count_real_time()
        # A scheduler that runs the tasks itself publishes nothing, and takes that for the loss of its lock.
        override(app.conf, "task_always_eager", False)
        super().__init__(app, *args, **options)

    def setup_schedule(self) -> None:
        """Lay the model's entries over the application's own, for whichever class sends them."""
        own = self.app.conf.beat_schedule
        if replaced := sorted(own.keys() & self._file.entries):
            logger.warning("fleet_schedule replaces these entries of beat_schedule: %s", ", ".join(replaced))
        override(self.app.conf, "beat_schedule", {**own, **self._file.entries})
        classes.prepare(self.app, self._class)
        logger.info("Sends %s", self._source())

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
            lock.wait(self._pause())
            if lock.active:
                self._lead(lock)
        except (*self._link_errors(), OperationalError) as error:
            logger.warning("The scheduler has no connection or lock: %s", error)
            self._give_up(str(error) or type(error).__name__, LONGEST_PAUSE)
        except SchedulerClassError as error:
            logger.exception("%s; another scheduler may take over", error)
            self._failed = True
            self._give_up(str(error), RETRY_INTERVAL)
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
            self._release(lost=False)

    def _give_up(self, obstacle: str, pause: float) -> None:
        self._obstacle = obstacle
        self._release(lost=True)
        self._report()
        time.sleep(pause)

    def _connect(self) -> Lock:
        broker = self._fleet.broker
        options = connection.transport_options(broker, self._file.password_file)
        self._link = connection.connect(
            nodes.urls(broker, self._file.user),
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
        if not self._failed:
            self._obstacle = ""
        return self._lock

    def _not_yet(self, error: Exception, interval: float) -> None:
        self._obstacle = str(error)

    def _link_errors(self) -> tuple[type[Exception], ...]:
        link = self.__dict__.get("_link")
        return (OSError, *(link.connection_errors + link.channel_errors if link else ()))

    def _release(self, lost: bool) -> None:
        self._lock = None
        self._finish(lost)
        link = self.__dict__.pop("_link", None)
        if link is not None:
            link.release()

    def _finish(self, lost: bool) -> None:
        inner, self._inner = self._inner, None
        if inner is None:
            return
        try:
            inner.finish(lost)
        except Exception:  # the application's class, and its store may be what failed
            logger.exception("The scheduler class did not close")

    def _lead(self, lock: Lock) -> None:
        try:
            inner = self._inner or self._begin(lock)
            if self._clock_was_set():
                # Celery's schedulers order their entries by the time of day.
                logger.warning("The clock was set; all entries are looked at anew")
                self._finish(lost=False)
                inner = self._begin(lock)
            if time.monotonic() >= self._next:
                pause = inner.tick()
                self._next = time.monotonic() + max(0.0, float(pause or 0))
            if inner.term.lost is None:
                inner.retry()
        except Exception as error:
            problem = f"{type(error).__name__} {error}"
            raise SchedulerClassError(f"{self._class.__name__} failed: {problem}") from error
        if inner.term.lost is not None:
            raise inner.term.lost
        if time.monotonic() - self._saved_at > SAVE_INTERVAL:
            lock.save(inner.notes())
            self._saved_at = time.monotonic()

    def _begin(self, lock: Lock) -> Led:
        term = Term(lock, self.app.timezone, self._link_errors())
        # A class like Celery's own unpickles that file, so no task may write there.
        filename = Path(os.environ.get("RUNTIME_DIRECTORY", "")) / self._options["schedule_filename"]
        options = {**self._options, "schedule_filename": str(filename), "lazy": False}
        self._inner = led(self._class, term)(app=self.app, **options)
        self._clock = time.time() - time.monotonic()
        self._saved_at, self._next = float("-inf"), 0.0
        self._failed, self._obstacle = False, ""
        logger.info("This is the scheduler now")
        return self._inner

    def _clock_was_set(self) -> bool:
        before, self._clock = self._clock, time.time() - time.monotonic()
        return abs(self._clock - before) > CLOCK_TOLERANCE

    def _pause(self) -> float:
        return LONGEST_PAUSE if self._inner is None else min(LONGEST_PAUSE, self._next - time.monotonic())

    def _source(self) -> str:
        """Return where the entries come from."""
        model = self._file.entries.keys()
        own = self.app.conf.beat_schedule.keys() - model
        parts = [f"{len(model)} of fleet_schedule", f"{len(own)} of beat_schedule"]
        if classes.named(self._class):
            parts.append(f"those of {classes.named(self._class)}")
        return ", ".join(parts)

    def _entries(self) -> int | None:
        if self._class is classes.OWN:
            return len(self.app.conf.beat_schedule)
        # As Celery's tick saw them last; a class with a tick of its own may not say.
        entries = getattr(self._inner, "old_schedulers", None)
        return None if entries is None else len(entries)

    def _report(self) -> None:
        term = self._inner.term if self._inner else None
        role = "waiting" if self._lock is None or self._failed else "active" if term else "standby"
        tick = term.last_tick if term else None
        now = time.monotonic()
        if (role, self._obstacle, tick) == self._reported and now - self._reported_at < REPORT_INTERVAL:
            return
        self._reported, self._reported_at = (role, self._obstacle, tick), now
        texts = {"waiting": f"Waiting: {self._obstacle}", "standby": "Another is the scheduler"}
        last = f", last sent {tick['name']}" if tick else ""
        text = texts.get(role, f"The scheduler of {self._source()}{last}")
        ready = [START_EXTENSION] if role == "waiting" else ["READY=1"]
        self._systemd.send(*ready, WATCHDOG, f"STATUS={text}")
        self._state_file.write(
            {
                "role": role,
                "obstacle": self._obstacle,
                "release": Path(sys.prefix).resolve().parent.name,
                "pid": os.getpid(),
                "entries": self._entries(),
                "runs": runs(self._inner, own=self._class is classes.OWN),
                "source": self._source(),
                "last_tick": tick,
                "ahead": sorted(term.ahead) if term else [],
            },
            at_once=True,
        )
