"""When each periodic task ran last, and when it is due next, for whoever watches the scheduler."""

from __future__ import annotations

import time
from itertools import islice

from celery.beat import ScheduleEntry, Scheduler
from celery.utils.time import maybe_make_aware

# Entries that are told of.
MOST = 1000


def runs(scheduler: Scheduler | None, *, own: bool) -> dict[str, dict[str, float]]:
    """Return the last and the next run of a scheduler's entries.

    Args:
        scheduler: The active scheduler; none: there are none.
        own: Whether it is of the kit's class. Others may ask a database for their entries, so those of their
            last tick are told.

    Returns:
        By name `last` and `next` (seconds since the epoch), as far as an entry's schedule tells them.
    """
    told: dict[str, dict[str, float]] = {}
    entries: dict[str, ScheduleEntry] = (
        getattr(scheduler, "schedule" if own else "old_schedulers", None) or {}
    )
    for name, entry in islice(entries.items(), MOST):
        moments = told[name] = {}
        try:
            last = maybe_make_aware(entry.last_run_at)
            moments["last"] = round(last.timestamp(), 3)
            left = entry.schedule.remaining_estimate(last).total_seconds()
            moments["next"] = round(time.time() + max(0.0, left), 1)
        except Exception:  # noqa: S112 - the application's: one that cannot tell is none the worse
            continue
    return told
