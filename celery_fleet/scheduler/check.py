"""The periodic tasks of an application as the build of its release reports them, and what cannot run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry, Scheduler
from celery.exceptions import QueueNotFound
from celery.schedules import maybe_schedule
from kombu.serialization import dumps

from celery_fleet.publishing.amqp import FleetAMQP
from celery_fleet.scheduler import classes

# Options of an entry that the scheduler cannot keep, and why.
_REFUSED = {
    **dict.fromkeys(
        ("countdown", "eta"), "the scheduler may not delay a task; put the time into the schedule"
    ),
    **dict.fromkeys(
        ("connection", "producer", "publisher", "router"),
        "the scheduler sends over the connection that holds its lock",
    ),
}


def report(app: Celery) -> dict[str, Any]:
    """Look at the periodic tasks of an application.

    Args:
        app: The application, finalized.

    Returns:
        `scheduler`, its class, empty for the kit's; `entries`, the task of each; `faults`, a sentence each.
    """
    faults: list[str] = []
    scheduler: type[Scheduler] = classes.OWN
    try:
        scheduler = classes.chosen(app)
    except classes.UnknownSchedulerError as error:
        faults.append(str(error))
    if classes.is_of(scheduler, "redbeat") and not app.conf.get("redbeat_redis_url"):
        faults.append(
            "redbeat_redis_url is not set, and RedBeat would take the fleet's broker for a Redis server"
        )
    tasks = {}
    for name, entry in app.conf.beat_schedule.items():
        fields = vars(entry) if isinstance(entry, ScheduleEntry) else entry
        if not isinstance(fields, Mapping):
            faults.append(f"beat_schedule {name!r}: it is no mapping")
            continue
        tasks[str(name)] = str(fields.get("task"))
        faults += [f"beat_schedule {name!r}: {fault}" for fault in _faults(app, scheduler, fields)]
    return {"scheduler": classes.named(scheduler), "entries": tasks, "faults": faults}


def _faults(app: Celery, scheduler: type[Scheduler], entry: Mapping[str, Any]) -> Iterator[str]:
    for missing in (name for name in ("task", "schedule") if entry.get(name) is None):
        yield f"it has no `{missing}`"
    if entry.get("task") is None or entry.get("schedule") is None:
        return
    yield from _schedule_faults(app, scheduler, entry)
    if entry["task"] not in app.tasks:
        yield f"the application has no task {entry['task']!r}, so its workers would reject it"
        return
    options = entry.get("options") or {}
    if not isinstance(options, Mapping):
        yield "its `options` are no mapping"
        return
    for name in options.keys() & _REFUSED.keys():
        yield f"option `{name}`: {_REFUSED[name]}"
    yield from _sending_faults(app, entry, options)


def _schedule_faults(app: Celery, scheduler: type[Scheduler], entry: Mapping[str, Any]) -> Iterator[str]:
    when = entry["schedule"]
    if not (isinstance(when, int | float | timedelta) or hasattr(when, "is_due")):
        yield f"its schedule is a {type(when).__name__}, not seconds, a timedelta or a schedule class"
        return
    try:
        when = maybe_schedule(entry["schedule"], entry.get("relative") or False, app=app)
    except Exception as error:  # a schedule class of the application may raise anything
        yield f"its schedule cannot be read: {type(error).__name__}: {error}"
        return
    every = getattr(when, "run_every", None)
    if isinstance(every, timedelta) and every <= timedelta():
        yield "its interval is not above 0"
        return
    try:
        when.is_due(when.now())
    except Exception as error:  # as above
        yield f"its next run cannot be found: {type(error).__name__}: {error}"
    if classes.is_of(scheduler, "django_celery_beat"):
        kept = tuple(kind for kind, *_ in scheduler.Entry.model_schedules)
        if not isinstance(when, kept):
            yield f"django-celery-beat cannot store a schedule of class {type(when).__name__}"
        elif isinstance(every, timedelta) and every.total_seconds() % 1:
            yield f"django-celery-beat stores whole seconds, and its interval is {every.total_seconds():g} s"


def _sending_faults(app: Celery, entry: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    name, task = entry["task"], app.tasks[entry["task"]]
    args, kwargs = entry.get("args") or (), entry.get("kwargs") or {}
    if isinstance(app.amqp, FleetAMQP):
        try:
            chosen = app.amqp.router.route(dict(options), name, args, kwargs, task)
        except QueueNotFound as error:
            queue = options.get("queue") or getattr(task, "queue", None)
            yield f"the fleet has no queue {queue!r}" if queue else f"it has no route: {error}"
        except Exception as error:  # the application's own routes may raise anything
            yield f"it has no route: {type(error).__name__}: {error}"
        else:
            if not chosen["queue"].name:
                address = f"exchange {chosen['exchange']!r} and routing key {chosen['routing_key']!r}"
                yield f"the fleet has no queue for {address}"
    lazy = any(isinstance(each, BeatLazyFunc) for each in (*args, *dict(kwargs).values()))
    serializer = options.get("serializer") or task.serializer or app.conf.task_serializer
    if not lazy:
        try:
            dumps((args, kwargs), serializer=serializer)
        except Exception as error:  # a serializer may raise anything
            yield f"its arguments cannot be sent as {serializer}: {error}"
