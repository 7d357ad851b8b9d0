"""What an application asks of the fleet, and what of it the fleet does not have: known before it serves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.app.utils import find_app
from celery.exceptions import QueueNotFound

import celery_fleet_autoconfigure
from celery_fleet.fleet import Fleet, Pool
from celery_fleet.publishing.amqp import FleetAMQP, TaskRouter, name_of

# Of a task's definition, a route or an entry of beat, what leads to a queue or limits the task.
_OPTIONS = ("queue", "exchange", "routing_key", "time_limit", "soft_time_limit")

# Places that are named of each fault; all of them would hide the others.
_PLACES = 5


@dataclass(frozen=True)
class Survey:
    """What an application has, what keeps it from serving, and what one should know.

    `tasks` are its own, without those of Celery and of the fleet.
    """

    tasks: tuple[str, ...]
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """Where a task is to go, who says so, and within which limits (seconds)."""

    place: str
    options: Mapping[str, Any]
    name: str
    task: Task | None


def load(name: str) -> Celery:
    """Import an application with all its tasks, as a worker does.

    Args:
        name: What `celery --app` is given.

    Returns:
        The application.
    """
    app = find_app(name)
    app.loader.import_default_modules()
    app.finalize()
    return app


def survey(app: Celery, fleet: Fleet, *, clamps: bool = False) -> Survey:
    """Compare what an application asks for with what the fleet has.

    What a call names (`apply_async(queue=…)`) cannot be known beforehand.

    Args:
        app: The application with all its tasks.
        fleet: The fleet.
        clamps: Whether limits above a pool's are only warned of, because the workers clamp them.

    Returns:
        All faults at once, each a sentence or two with what to do about it.
    """
    tasks = {
        name: task for name, task in app.tasks.items() if not name.startswith(("celery.", "celery_fleet."))
    }
    names = tuple(sorted(tasks))
    if not isinstance(app.amqp, FleetAMQP):
        return Survey(names, (_stranger(celery_fleet_autoconfigure.target()),))
    router: TaskRouter = app.amqp.router
    pools = {queue: pool for queue, (pool, _) in fleet.addresses().items()}
    unknown: dict[str, list[str]] = {}
    above: list[str] = []
    for asked in (*_of_tasks(tasks), *_of_routes(app.conf.task_routes), *_of_beat(app, tasks)):
        chosen = router.choose(asked.options, asked.name, task_type=asked.task)
        try:
            routed = router.with_address(chosen)
        except QueueNotFound:
            queue = None
        else:
            queue = router.queue_at(routed["exchange"], routed["routing_key"])
        if queue is None:
            unknown.setdefault(_address(chosen), []).append(asked.place)
        elif excess := _excess(chosen, pools[queue.name]):
            above.append(f"{asked.place} ({excess})")
    faults = [*_unknown_queues(unknown, list(pools), fleet.routing.default_queue)]
    warnings = [*_own_queues(app.amqp.own_queues, list(pools), fleet)]
    faults += _missing_prefixes(fleet)
    if above and clamps:
        warnings.append(f"Workers clamp limits above those of their pool: {_some(above)}.")
    elif above:
        faults.append(
            f"Limits above those of their pool: {_some(above)}. Lower them, use a pool with a longer "
            "time_limit, or raise that of the pool; fleet_app.limits_above_pool: clamp applies the pool's."
        )
    return Survey(names, tuple(faults), tuple(warnings))


def _own_queues(own: Iterable[str], known: Sequence[str], fleet: Fleet) -> Iterator[str]:
    """Name queues of `task_queues` that no worker of the fleet serves."""
    if lacking := sorted(set(own) - set(known) - fleet.routing.aliases.keys()):
        yield (
            f"The fleet has no queue {', '.join(lacking)} of the application's task_queues, and nobody "
            "serves it: add it to a pool's queues, or name it in fleet_environment_routing.aliases."
        )


def _missing_prefixes(fleet: Fleet) -> Iterator[str]:
    """Look for the programs that start workers: in this environment, or where they are said to be."""
    users: dict[str, list[str]] = {}
    for pool in fleet.pools.values():
        for program in pool.command_prefix[:1]:
            if not os.access(Path(sys.prefix, "bin", program), os.X_OK):
                users.setdefault(program, []).append(pool.name)
    for program, pools in users.items():
        yield (
            f"There is no program {program} for the command_prefix of {_some(pools)}. Lock the package that "
            "brings it, or give its absolute path on every host of the pool."
        )


def _stranger(target: str) -> str:
    """Say why an application is no member of the fleet."""
    if target:
        return (
            f"The application is no member of the fleet: fleet_app.autoconfigure names {target}, which is "
            "another app. Name the module in which this one is made, and its name there."
        )
    return (
        "The application is no member of the fleet: its module must call celery_fleet.configure(app) after "
        "the application's own configuration. If it is not yours to change, set fleet_app.autoconfigure."
    )


def _of_tasks(tasks: Mapping[str, Task]) -> Iterator[_Asked]:
    for name, task in sorted(tasks.items()):
        yield _Asked(f"task {name}", _options_of(task), name, task)


def _of_routes(setting: Any) -> Iterator[_Asked]:  # noqa: ANN401 - whatever Celery takes
    """Read the routes that are data; what a function decides is seen with each task."""
    for routes in setting if isinstance(setting, list | tuple) else [setting]:
        items = routes.items() if isinstance(routes, Mapping) else routes
        for pattern, route in items if isinstance(routes, Mapping | list | tuple) else ():
            options = {"queue": route} if isinstance(route, str) else _known(dict(route))
            if any(options.get(name) for name in _OPTIONS[:3]):
                shown = getattr(pattern, "pattern", pattern)
                yield _Asked(f"task_routes {shown}", options, str(shown), None)


def _of_beat(app: Celery, tasks: Mapping[str, Task]) -> Iterator[_Asked]:
    for entry, about in (app.conf.beat_schedule or {}).items():
        fields = about if isinstance(about, Mapping) else vars(about)
        name = str(fields.get("task"))
        task = tasks.get(name)
        options = {**(_options_of(task) if task else {}), **_known(fields.get("options") or {})}
        yield _Asked(f"beat_schedule {entry}", options, name, task)


def _options_of(task: Task) -> dict[str, Any]:
    return _known({name: getattr(task, name, None) for name in _OPTIONS})


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _OPTIONS if options.get(name) is not None}


def _address(options: Mapping[str, Any]) -> str:
    if queue := name_of(options.get("queue")):
        return queue
    return f"exchange {name_of(options.get('exchange'))}, routing key {options.get('routing_key')}"


def _unknown_queues(places: Mapping[str, list[str]], known: Iterable[str], default: str) -> Iterator[str]:
    for queue, users in places.items():
        near = next(iter(get_close_matches(queue, known, n=1)), default)
        yield (
            f"No pool has the queue {queue}, which {_some(users)} names. Name one of the fleet's, or let it "
            f"mean one: fleet_environment_routing: {{aliases: {{{queue}: {near}}}}}"
        )


def _excess(options: Mapping[str, Any], pool: Pool) -> str:
    """Return what of a task's own limits (seconds) a pool does not grant."""
    most = pool.time_limit
    excess = [
        f"{name} {options[name]}"
        for name, over in (
            ("time_limit", _number(options.get("time_limit")) > most),
            ("soft_time_limit", _number(options.get("soft_time_limit")) >= most),
        )
        if over
    ]
    return f"{', '.join(excess)}; pool {pool.name}: {most} s" if excess else ""


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _some(places: list[str]) -> str:
    more = len(places) - _PLACES
    return ", ".join(places[:_PLACES]) + (f" and {more} more" if more > 0 else "")
