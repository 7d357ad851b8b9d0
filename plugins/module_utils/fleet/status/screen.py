"""The fleet's status on one screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..text import columns, count, span
from .document import count_of, crashes


def text(status: Mapping[str, Any]) -> str:
    """Write a status for people: what is wrong, then hosts and pools, then queues, then the scheduler.

    Args:
        status: What ``document`` returned.

    Returns:
        Lines of text.
    """
    head = [f"! {warning}" for warning in status["warnings"]] or ["All is well."]
    head += [f"* {note}" for note in status["notes"]]
    parts = [head, columns(list(_host_rows(status["hosts"])))]
    if status["queues"] or status["stranded"]:
        parts.append(columns(list(_queue_rows(status))))
    elif not status["broker"]["asked"]:
        parts.append(["The brokers are outside of --limit, so the queues are not shown."])
    if status["results"]:
        parts.append(columns(list(_results_rows(status["results"]))))
    if status["beat"]:
        parts.append(columns(list(_beat_rows(status["beat"]))))
    return "\n\n".join("\n".join(part) for part in parts)


def rollover_lines(instances: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write what a rollover waits for: the instances that do not consume yet, or no longer.

    Args:
        instances: The instances of a host, as the module ``worker_status`` returns them.

    Returns:
        A line for each, with its release, why it takes no tasks, and the tasks that it still runs.
    """
    lines = []
    for instance in instances:
        if instance["state"] in ("consuming", "inactive"):
            continue
        parts = [instance["state"]]
        if instance["obstacle"]:
            parts.append(str(instance["obstacle"]))
        if instance["active"]:
            oldest = max(instance["active"], key=lambda task: task["age_s"] or 0)
            limit = f" of at most {span(oldest['time_limit'])}" if oldest["time_limit"] else ""
            parts.append(f"{count(len(instance['active']), 'task')} left")
            parts.append(f"the oldest ({oldest['name']}) runs for {span(oldest['age_s'])}{limit}")
        lines.append(f"{instance['unit']} (release {instance['release']}): {', '.join(parts)}")
    return lines


def _host_rows(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield (
        "host",
        "pool",
        "release",
        "state",
        "active/reserved/slots",
        "memory",
        "restarts",
        "last task",
        "note",
    )
    for host, row in hosts.items():
        if not row["reachable"]:
            yield (host, "-", "-", "UNREACHABLE", "-", "-", "-", "-", "")
            continue
        for instance in row["instances"]:
            memory = "-" if instance["memory_mib"] is None else f"{instance['memory_mib']} MiB"
            yield (
                host,
                instance["pool"],
                instance["release"],
                "crash loop" if crashes(instance) else instance["state"],
                "/".join(
                    map(_shown, (count_of(instance["active"]), instance["reserved"], instance["slots"]))
                ),
                memory,
                str(instance["restarts"]),
                span(instance["last_task_s"]),
                _note(instance, row["drained"]),
            )
        for pool in row["missing"]:
            note = f"drained: {row['drained'][pool]}" if pool in row["drained"] else ""
            yield (host, pool, "-", "drained" if note else "MISSING", "-", "-", "-", "-", note)


def _note(instance: Mapping[str, Any], drained: Mapping[str, str]) -> str:
    notes = [f"drained: {drained[instance['pool']]}"] if instance["pool"] in drained else []
    if instance["state"] in ("stopping", "paused") and instance["active"]:
        oldest = max(instance["active"], key=lambda task: task["age_s"] or 0)
        notes.append(f"still runs {oldest['name']} since {span(oldest['age_s'])}")
    if instance.get("hung"):
        notes.append(f"{instance['hung']} threads hang")
    if instance["obstacle"]:
        notes.append(str(instance["obstacle"]))
    return "; ".join(notes)


def _queue_rows(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield ("queue", "pool", "ready", "unacked", "consumers", "in/s", "out/s", "p95 wait", "oldest")
    for each in status["queues"]:
        figures = (each[name] for name in ("ready", "unacked", "consumers", "in_per_s", "out_per_s"))
        yield (each["name"], each["pool"], *map(_shown, figures), span(each["wait_p95_s"]), _oldest(each))
    for each in status["stranded"]:
        figures = (each[name] for name in ("ready", "unacked", "consumers"))
        yield (each["name"], "(none)", *map(_shown, figures), "-", "-", "-", span(each["oldest_s"]))
    for each in status["dead_letters"]:
        if each["messages"]:
            yield (each["name"], "(dead)", str(each["messages"]), *["-"] * 6)


def _oldest(queue: Mapping[str, Any]) -> str:
    """Write how long the oldest task waits: as the broker says it, or what it may be at most."""
    if queue["oldest_s"] is not None or queue["oldest_at_most_s"] is None:
        return span(queue["oldest_s"])
    return f"≤ {span(queue['oldest_at_most_s'])}"


def _results_rows(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield ("results", "version", "memory", "limit", "file", "refused writes", "up")
    for host, each in results.items():
        memory, limit = (
            "-" if each[name] is None else f"{each[name]} MiB" for name in ("memory_mib", "limit_mib")
        )
        figures = map(_shown, (each["file"], each["refused"]))
        yield (host, _shown(each["version"]), memory, limit, *figures, span(each["up_s"]))


def _beat_rows(beats: Mapping[str, Mapping[str, Any] | None]) -> Iterator[tuple[str, ...]]:
    yield ("scheduler", "role", "release", "entries", "last tick", "restarts", "source")
    for host, scheduler in beats.items():
        if scheduler is None:
            yield (host, "-", "-", "-", "-", "-", "")
            continue
        tick = (
            f"{scheduler['last_tick']}, {span(scheduler['last_tick_s'])} ago"
            if scheduler["last_tick"]
            else "-"
        )
        yield (
            host,
            scheduler["role"],
            _shown(scheduler["release"]),
            _shown(scheduler["entries"]),
            tick,
            str(scheduler["restarts"]),
            scheduler["source"],
        )


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
