"""The options of `celery worker` and of `celery multi`, as far as the model has a place for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from .formats import Command

# Larger figures are a slip, or ill will.
MOST: Final = 10**6
DEFAULT_QUEUE: Final = "celery"
_LONG: Final = {
    "--queues": "queues",
    "--concurrency": "concurrency",
    "--autoscale": "autoscale",
    "--prefetch-multiplier": "prefetch_multiplier",
    "--time-limit": "time_limit",
    "--soft-time-limit": "soft_time_limit",
    "--max-tasks-per-child": "max_tasks_per_child",
    "--maxtasksperchild": "max_tasks_per_child",
    "--pool": "execution",
}
_SHORT: Final = {"-Q": "queues", "-c": "concurrency", "-P": "execution"}


@dataclass(frozen=True)
class Worker:
    """A worker as its command line says; None where it says nothing.

    Attributes:
        name: Of the unit, or of the node.
        queues: That it consumes.
        concurrency: Tasks at once.
        autoscale: Most and fewest processes.
        prefetch_multiplier: Tasks that it holds for each that it runs.
        time_limit, soft_time_limit: Seconds.
        max_tasks_per_child: Tasks after which a process is replaced.
        execution: Celery's execution pool.
    """

    name: str
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    concurrency: int | None = None
    autoscale: tuple[int, int] | None = None
    prefetch_multiplier: int | None = None
    time_limit: int | None = None
    soft_time_limit: int | None = None
    max_tasks_per_child: int | None = None
    execution: str | None = None


def workers_of(command: Command) -> list[Worker]:
    """Return the workers that a command line starts; none if it starts something else.

    Args:
        command: The command line.

    Raises:
        ValueError: A figure is none.
    """
    words = [word.rpartition("/")[2] for word in command.argv]
    if "celery" not in words:
        return []
    rest = list(command.argv[words.index("celery") + 1 :])
    if "worker" in rest:
        return [_with(Worker(command.name), _options(rest[rest.index("worker") + 1 :]))]
    if "multi" in rest:
        return _nodes(rest[rest.index("multi") + 2 :])
    return []


def _nodes(words: Sequence[str]) -> list[Worker]:
    """Return the nodes of `celery multi`, each with its own options over those of all."""
    names: list[str] = []
    for word in words:
        if word.startswith("-"):
            break
        names.append(word)
    if len(names) == 1 and names[0].isdigit():
        names = [f"celery{number}" for number in range(1, min(int(names[0]), 100) + 1)]
    shared: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in names}
    at = len(names) if not names or names[0] in words else 1
    while at < len(words):
        option, colon, of = words[at].partition(":")
        if not colon or not option.startswith("-"):
            shared.append(words[at])
            at += 1
            continue
        nodes, equals, value = of.partition("=")
        given = [f"{option}={value}"] if equals else [option, *words[at + 1 : at + 2]]
        at += 1 if equals else 2
        for node in _meant(nodes, names):
            own[node] += given
    return [_with(Worker(name), [*_options(shared), *_options(own[name])]) for name in names]


def _meant(nodes: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the nodes of an option: by name, by number, or a range of numbers."""
    for node in nodes.split(","):
        if node in names:
            yield node
        elif found := re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", node):
            yield from names[max(int(found[1]) - 1, 0) : int(found[2] or found[1])]


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options that the model has a place for, in order."""
    found = []
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        field = _LONG.get(name) or (_SHORT.get(words[at][:2]) if not words[at].startswith("--") else None)
        at += 1
        if field is None:
            continue
        if name in _SHORT and not equals:
            value, at = (words[at] if at < len(words) else ""), at + 1
        elif name not in _LONG:
            value = words[at - 1][2:].removeprefix("=")
        elif not equals:
            value, at = (words[at] if at < len(words) else ""), at + 1
        found.append((field, value))
    return found


def _with(worker: Worker, options: Sequence[tuple[str, str]]) -> Worker:
    for field, value in options:
        if field == "queues":
            if queues := tuple(dict.fromkeys(name for name in value.split(",") if name)):
                worker = replace(worker, queues=queues)
        elif field == "execution":
            worker = replace(worker, execution=value)
        elif field == "autoscale":
            most, _, fewest = value.partition(",")
            worker = replace(worker, autoscale=(_figure(field, most), _figure(field, fewest or "0")))
        else:
            # Every other field is a figure.
            worker = replace(worker, **{field: _figure(field, value)})  # type: ignore[arg-type]
    return worker


def _figure(field: str, text: str) -> int:
    """Return a figure; that of limits may have a fraction of a second, which is rounded up."""
    if not re.fullmatch(r"\d{1,7}(\.\d{1,9})?", text) or float(text) > MOST:
        raise ValueError(f"{field} {text[:40]!r} is no figure of at most {MOST}")
    return -int(-float(text) // 1)
