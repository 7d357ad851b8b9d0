"""A first model of workers that somebody started by hand, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from ..model.names import BEAT, DEAD, DELAYED, VERIFY
from ..model.rules import WEEK_S
from .workers import Worker

# Words of a queue's name by the kind of its tasks; the first kind that has one counts.
WORDS: Final = {
    "memory": {"memory", "mem", "import", "imports", "aggregate", "aggregations", "bulk", "merge", "etl"},
    "cpu": {"cpu", "ml", "train", "training", "video", "image", "images", "encode", "render", "analysis"},
    "io": {"io", "api", "mail", "email", "emails", "http", "fetch", "upload", "download", "files", "notify"},
}  # fmt: skip
# What a kind of task needs and is held to where its worker says nothing: the figures of the kit's own pools.
_PER_KIND: Final[dict[str, dict[str, Any]]] = {
    "cpu": {"cores": 1, "memory_mib": 2048, "prefetch": 1, "child": 100, "hard": 3600, "soft": 3000},
    "io": {"cores": 0.06, "memory_mib": 256, "prefetch": 10, "child": 1000, "hard": 300, "soft": 240},
    "memory": {"cores": 1, "memory_mib": 24576, "prefetch": 1, "child": 50, "hard": 7200, "soft": 6600},
    "general": {"cores": 0.3, "memory_mib": 1024, "prefetch": 4, "child": 500, "hard": 600, "soft": 540},
}
_SERVERS: Final = {"cpu": "cpu_servers", "memory": "memory_servers"}
_EXECUTIONS: Final = {"threads": "threads", "gevent": "gevent", "eventlet": "gevent"}
# Celery's own, where nobody says anything.
_PREFETCH: Final = 4
MAX_LENGTH: Final = 10_000


@dataclass
class First:
    """A first model.

    Attributes:
        pools, profiles, routing: As the variables ``fleet_pools``, ``fleet_profiles`` and ``fleet_routing``.
        findings: What is wrong with the workers as they are: the name of the finding, and a sentence.
        origins: By pool, what it was made of.
    """

    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    routing: dict[str, Any] = field(default_factory=dict)
    findings: list[tuple[str, str]] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of a site."""
        return {"fleet_pools": self.pools, "fleet_profiles": self.profiles, "fleet_routing": self.routing}


def kind_of(queue: str) -> str:
    """Return what the tasks of a queue need most, as far as its name tells."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", queue)}
    return next((kind for kind, own in WORDS.items() if own & words), "general")


def first_model(workers: Sequence[Worker]) -> First:
    """Write a first model of workers.

    Args:
        workers: All of them; several that consume the same queues are one pool.

    Returns:
        A model that the kit takes, and the mistakes that it does not repeat.
    """
    first = First()
    new: dict[str, str] = {}
    for worker in workers:
        kinds = {queue: kind_of(queue) for queue in worker.queues}
        first.findings += _mistakes(worker, set(kinds.values()))
        for kind in dict.fromkeys(kinds.values()):
            queues = [queue for queue in worker.queues if kinds[queue] == kind and queue not in new]
            if not queues:
                continue
            title = worker.name if len(set(kinds.values())) == 1 else f"{worker.name}_{kind}"
            name = _unique(_name(title), first.pools)
            for queue in queues:
                new[queue] = _unique(_queue(queue), new.values())
            first.pools[name] = _pool(worker, name, kind, [new[queue] for queue in queues])
            first.origins[name] = _origin(worker)
            profile = first.profiles.setdefault(_SERVERS.get(kind, "balanced_servers"), {"pools": {}})
            profile["pools"][name] = {}
    first.findings += _one_concurrency(workers)
    first.routing = _routing(first.pools, new)
    return first


def _pool(worker: Worker, name: str, kind: str, queues: Sequence[str]) -> dict[str, Any]:
    usual = _PER_KIND[kind]
    hard, soft = usual["hard"], usual["soft"]
    if worker.time_limit and worker.time_limit <= WEEK_S:
        hard = max(worker.time_limit, 2)
        soft = max(hard * 9 // 10, 1)
    elif worker.soft_time_limit and worker.soft_time_limit < WEEK_S:
        hard = max(hard, worker.soft_time_limit * 6 // 5 + 1)
    if worker.soft_time_limit and worker.soft_time_limit < hard:
        soft = worker.soft_time_limit
    prefetch = worker.prefetch_multiplier or usual["prefetch"]
    pool: dict[str, Any] = {
        "kind": kind,
        "exchange": f"{name}_tasks",
        "queues": {
            queue: {"routing_key": f"{name}.{queue[:100]}", "max_length": MAX_LENGTH} for queue in queues
        },
        "demand": {"cores": usual["cores"], "memory_mib": usual["memory_mib"]},
        "prefetch_multiplier": prefetch if kind not in ("cpu", "memory") else 1,
        "max_tasks_per_child": worker.max_tasks_per_child or usual["child"],
        "time_limit": hard,
        "soft_time_limit": soft,
    }
    execution = _EXECUTIONS.get(worker.execution or "")
    if execution:
        pool["execution"] = execution
    elif worker.autoscale and 1 <= worker.autoscale[1] <= worker.autoscale[0]:
        most, fewest = worker.autoscale
        pool["autoscale"] = {"enabled": True, "min": fewest, "max": most}
    return pool


def _mistakes(worker: Worker, kinds: set[str]) -> Iterator[tuple[str, str]]:
    """Find three of the mistakes that one worker can make."""
    if len(kinds) > 1:
        yield (
            "mistake/mixed-kinds",
            f"{worker.name} consumes queues of the kinds {', '.join(sorted(kinds))}: short tasks wait "
            "behind long ones. Each kind gets a pool here",
        )
    prefetch = worker.prefetch_multiplier or _PREFETCH
    if kinds & {"cpu", "memory"} and prefetch > 1:
        yield (
            "mistake/high-prefetch",
            f"{worker.name} fetches {prefetch} tasks for each that it runs, and they wait while others could "
            "run them. The pool has 1",
        )
    if not worker.time_limit or worker.time_limit > WEEK_S:
        yield (
            "limits/missing",
            f"{worker.name} has no time limit, so one task that hangs takes a slot for ever. The pool has "
            "that of its kind: look whether your longest task fits",
        )


def _one_concurrency(workers: Sequence[Worker]) -> Iterator[tuple[str, str]]:
    kinds = {kind_of(queue) for worker in workers for queue in worker.queues}
    figures = {worker.concurrency for worker in workers}
    if len(kinds) > 1 and len(figures) == 1 and None not in figures:
        yield (
            "mistake/one-concurrency",
            f"all workers run {figures.pop()} tasks at once, whatever these need. The figures follow from "
            "the demand of a task and the server here: look at the demands",
        )


def _routing(pools: dict[str, dict[str, Any]], new: dict[str, str]) -> dict[str, Any]:
    queues = {queue: pool["kind"] for pool in pools.values() for queue in pool["queues"]}
    if not queues:
        return {}
    usual = new.get("celery") or next(
        (q for q, kind in queues.items() if kind == "general"), next(iter(queues))
    )
    hints: dict[str, str] = {}
    for queue, kind in queues.items():
        hints.setdefault(kind, queue)
    aliases = {old: name for old, name in new.items() if old != name and old not in queues}
    return {"default_queue": usual, "periodic_queue": usual, "hints": hints, "aliases": aliases, "rules": []}


def _origin(worker: Worker) -> str:
    ran = f"{worker.concurrency} at once" if worker.concurrency else "as many at once as its host had cores"
    return f"{worker.name}, which ran {ran}"


def _name(text: str) -> str:
    """Return a pool's name."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"{name if name[:1].isalpha() else f'pool_{name}'}"[:25].rstrip("_")


def _queue(text: str) -> str:
    """Return a queue's name that neither the kit nor Celery has for itself."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:150] or "queue"
    taken = name in (VERIFY, BEAT, "celeryev") or name.startswith(DELAYED) or name.endswith(DEAD)
    return f"old_{name}_queue" if taken else name


def _unique(name: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken."""
    names = set(taken)
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in names else next(each for each in numbered if each not in names)
