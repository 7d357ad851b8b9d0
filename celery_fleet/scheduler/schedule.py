"""What the fleet's scheduler has to send, and what of it was sent: the parts that need no broker."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, crontab, schedule

from celery_fleet.errors import FleetFileError
from celery_fleet.files import DEPLOY, read_text

DEFAULT_PATH = "/etc/celery-fleet/beat.json"
PATH_VARIABLE = "CELERY_FLEET_BEAT_FILE"

# Seconds since the epoch, the year 9999: what Python's times end with.
_LATEST = 253_370_000_000


@dataclass(frozen=True)
class BeatFile:
    """Who the scheduler is at the broker, the queue that is its lock, and the model's entries."""

    user: str
    password_file: str
    queue: str
    entries: Mapping[str, Mapping[str, Any]]


def load(path: str | None = None) -> BeatFile:
    """Read the scheduler's file.

    Args:
        path: The file; by default what CELERY_FLEET_BEAT_FILE names, else `/etc/celery-fleet/beat.json`.

    Returns:
        Its contents.

    Raises:
        FleetFileError: The file is missing or unreadable, or is not what this release understands.
    """
    path = path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    text = read_text(path)
    try:
        document = json.loads(text)
        entries = {name: _entry(fields) for name, fields in document["schedule"].items()}
        return BeatFile(document["user"], document["password_file"], document["queue"], entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetFileError(
            path, f"not the schedule of this release: {type(error).__name__} {error}", DEPLOY
        ) from error


def _entry(fields: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: fields[name] for name in ("queue", "expires") if fields.get(name) is not None}
    every, times = fields.get("every"), str(fields.get("crontab"))
    return {
        "task": fields["task"],
        "schedule": schedule(every) if every is not None else crontab.from_string(" ".join(times.split())),
        "args": tuple(fields.get("args") or ()),
        "kwargs": dict(fields.get("kwargs") or {}),
        "options": options,
    }


def ran(when: BaseSchedule, last: datetime, now: datetime) -> datetime:
    """Return the time as of which a run that is due now counts.

    An interval's runs count as of the moments for which they were planned, so that delays don't add
    up. Of several that were missed, the last one is made up for.

    Args:
        when: The schedule of the entry.
        last: The time as of which the run before counts.
        now: The present time.

    Returns:
        The time.
    """
    every: timedelta | None = getattr(when, "run_every", None)
    if isinstance(when, crontab) or not every:
        return now
    # In UTC: between times of one zone Python counts by the wall clock, which repeats an hour in autumn.
    begin = last.astimezone(UTC)
    planned = begin + max(1, math.floor((now.astimezone(UTC) - begin) / every)) * every
    return planned.astimezone(last.tzinfo)


def merged(runs: Mapping[str, float], recorded: object) -> dict[str, float]:
    """Merge the runs that a message records into the known ones; the order of messages does not matter.

    Args:
        runs: The last run by entry, in seconds since the epoch.
        recorded: A JSON text with the same, from a message, as text or UTF-8; anything else says nothing.

    Returns:
        The later run of each entry. Any of them may lie in the future.
    """
    try:
        more = json.loads(recorded) if isinstance(recorded, str | bytes) else {}
    except (ValueError, RecursionError):
        more = {}
    latest = dict(runs)
    for name, at in more.items() if isinstance(more, dict) else ():
        if isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at < _LATEST:
            latest[name] = max(float(at), latest.get(name, 0.0))
    return latest
