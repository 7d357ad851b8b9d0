"""Which scheduler class sends: the kit's, or the application's `beat_scheduler`."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.beat import PersistentScheduler, Scheduler
from celery.utils.imports import load_extension_class_names, symbol_by_name

from celery_fleet.errors import FleetError
from celery_fleet.scheduler.memory import NotedScheduler
from celery_fleet.settings.enforce import override

OWN = NotedScheduler

# Celery's own keep the last runs in memory or in a file of one host. The notes replace both.
_REPLACED = (Scheduler, PersistentScheduler)


class UnknownSchedulerError(FleetError):
    """`beat_scheduler` names nothing that can send."""


def chosen(app: Celery) -> type[Scheduler]:
    """Return the class that sends the application's periodic tasks.

    Args:
        app: The application, with its settings.

    Returns:
        The application's `beat_scheduler`; the kit's class instead of Celery's own.

    Raises:
        UnknownSchedulerError: The setting names no class, or one that is no scheduler.
    """
    name = app.conf.beat_scheduler
    try:
        scheduler = symbol_by_name(name, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    except Exception as error:  # its module may raise anything
        problem = f"cannot be imported: {type(error).__name__}: {error}"
        raise UnknownSchedulerError(f"beat_scheduler {name!r} {problem}") from error
    if not (isinstance(scheduler, type) and issubclass(scheduler, Scheduler)):
        raise UnknownSchedulerError(f"beat_scheduler {name!r} is no subclass of celery.beat.Scheduler")
    return OWN if scheduler in _REPLACED else scheduler


def named(scheduler: type[Scheduler]) -> str:
    """Name a class as `beat_scheduler` does; an empty text is the kit's own."""
    return "" if scheduler is OWN else f"{scheduler.__module__}:{scheduler.__qualname__}"


def is_of(scheduler: type[Scheduler], package: str) -> bool:
    """Return whether a class is one of a package, or derived from one."""
    return any(base.__module__.partition(".")[0] == package for base in scheduler.__mro__)


def prepare(app: Celery, scheduler: type[Scheduler]) -> None:
    """Change the settings that a class reads to what it needs under the fleet's lock.

    Args:
        app: The application, whose `beat_schedule` is complete.
        scheduler: The class that sends.
    """
    if is_of(scheduler, "redbeat"):
        # Its own lock would be a second one, which a scheduler that is killed holds on to.
        for name in ("redbeat_lock_key", "REDBEAT_LOCK_KEY"):
            app.conf[name] = None
    if is_of(scheduler, "django_celery_beat"):
        rows = {name: _as_row(entry) for name, entry in app.conf.beat_schedule.items()}
        override(app.conf, "beat_schedule", rows)


def _as_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry whose `expires` the database keeps: it knows the option by another name only."""
    options = entry.get("options") or {}
    expires = options.get("expires")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        return entry
    return {**entry, "options": {"expire_seconds": int(expires), **options}}
