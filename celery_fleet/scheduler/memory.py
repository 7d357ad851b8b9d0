"""The kit's own scheduler class: its schedule is in the settings, and its memory in the notes of the lock."""

from __future__ import annotations

import logging
import time

from celery.beat import ScheduleEntry

from celery_fleet.scheduler import schedule
from celery_fleet.scheduler.led import Led

logger = logging.getLogger(__name__)

# Seconds.
LONGEST_PAUSE = 1.0
# When an entry is asked again that could not say when it is due.
UNKNOWN_PAUSE = 60.0


class NotedScheduler(Led):
    """Sends the entries of `beat_schedule`, and knows by the notes when each of them ran last."""

    def setup_schedule(self) -> None:
        """Take the entries of the settings, over Celery's own. One without a note begins now."""
        self._unknown: dict[str, float] = {}
        self.install_default_entries(self.app.conf.beat_schedule)
        self.update_from_dict(self.app.conf.beat_schedule)

    def run_at(self, entry: ScheduleEntry) -> float:
        """Return the time as of which a run counts: an interval stays on its grid."""
        return schedule.ran(entry.schedule, entry.last_run_at, entry.default_now()).timestamp()

    def notes(self) -> dict[str, float]:
        """Return the last run of every entry."""
        for entry in self.schedule.values():
            self.term.adopt(entry)
        return {entry.name: entry.last_run_at.timestamp() for entry in self.schedule.values()}

    def tick(self, *_: object, **__: object) -> float:
        """Send all that is due.

        Each entry is asked at each tick, by the time of day, so that a clock that was set delays none.

        Returns:
            Seconds until the next is due, one at most.
        """
        pause = LONGEST_PAUSE
        for entry in list(self.schedule.values()):
            if entry.name in self.term.refused:
                continue
            wait = self._wait(entry)
            if wait <= 0:
                self.apply_entry(entry, producer=self.producer)
                if self.term.lost is not None:
                    break
                wait = 0.0 if entry.name in self.term.refused else self._wait(entry)
            pause = min(pause, wait)
        return pause

    def _wait(self, entry: ScheduleEntry) -> float:
        if self._unknown.get(entry.name, 0.0) > time.monotonic():
            return LONGEST_PAUSE
        try:
            due, pause = self.is_due(entry)
        except Exception:  # an entry whose next run can't be found must not stop the others
            logger.exception(
                "Cannot find the next run of %s, and try again in %g s", entry.name, UNKNOWN_PAUSE
            )
            self._unknown[entry.name] = time.monotonic() + UNKNOWN_PAUSE
            return LONGEST_PAUSE
        return 0.0 if due else float(pause)
