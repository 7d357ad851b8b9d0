"""Plans as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ..text import columns
from .ranges import host_ranges

SIGNS: Final = {"add": "+", "change": "~", "keep": "=", "remove": "-"}
_HEAD: Final = (
    "host",
    "pool",
    "tasks",
    "bound by",
    "fits",
    "cores (left)",
    "MiB (left)",
    "prefetch",
    "hard/soft",
    "stop",
    "now",
)

_KEY: Final = (
    "tasks: at once, with autoscale the range · fits: that many by cores / by memory, - if it needs none",
    "cores, MiB: what the pool may use on the host, and what is left of it · prefetch: tasks a worker holds",
    "hard/soft, stop: seconds · now: + new, ~ changes, = stays, - goes, ? not looked at",
)


def fleet_text(document: Mapping[str, Any]) -> str:
    """Write a fleet's plan for a person; hosts with the same plan share their lines.

    Args:
        document: What ``fleet_plan`` returned.

    Returns:
        A table and, where there are any, the changes, the overrides, the hosts that are not known, and the
        periodic tasks.
    """
    lines = [_summary(document["hosts"]), ""]
    rows: dict[tuple[Any, ...], list[str]] = {}
    for entry in document["hosts"]:
        rows.setdefault(_rows(entry), []).append(entry["host"])
    table: list[Sequence[str]] = [_HEAD]
    for cells, hosts in rows.items():
        names = host_ranges(hosts)
        for at in range(max(len(cells), len(names))):
            row = cells[at] if at < len(cells) else ("",) * (len(_HEAD) - 1)
            table.append((names[at] if at < len(names) else "", *row))
    lines += columns(table)
    lines += ["", *_KEY]
    for title, notes in (
        ("What would change:", _change_notes(document["hosts"])),
        ("What overrides the model, and what it replaced:", _override_notes(document["hosts"])),
        ("What hosts have:", _hardware_notes(document["hosts"])),
    ):
        if notes:
            lines += [
                "",
                title,
                *(f"  {', '.join(host_ranges(hosts))}: {note}" for note, hosts in notes.items()),
            ]
    if document["schedule"]:
        lines += ["", "What the scheduler sends of fleet_schedule, beside the application's own entries:"]
        lines += [f"  {name}: {_when(entry)}" for name, entry in document["schedule"].items()]
    return "\n".join(lines)


def _when(entry: Mapping[str, Any]) -> str:
    when = f"every {entry['every']:g} s" if "every" in entry else f"crontab {entry['crontab']}"
    return f"{entry['task']}, {when}" + (f", to {entry['queue']}" if "queue" in entry else "")


def _summary(entries: Sequence[Mapping[str, Any]]) -> str:
    states = [entry["state"] for entry in entries]
    declared = sum(bool(entry["hardware"] and entry["hardware"]["declared"]) for entry in entries)
    parts = [f"{len(entries)} host(s)"]
    parts += [
        f"{states.count(state)} {state}" for state in ("planned", "refused", "unknown") if state in states
    ]
    return ", ".join(parts + ([f"{declared} of them by declaration"] if declared else []))


def _rows(entry: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    if entry["state"] == "unknown":
        return (_row("-", "unknown"),)
    changes = entry["changes"]
    rows: list[tuple[str, ...]] = [
        (
            name,
            _tasks(pool),
            _bound(pool),
            "/".join("-" if n is None else str(n) for n in pool["fits"].values()),
            f"{round(pool['budget']['cores'], 2):g} ({round(pool['left']['cores'], 2):g})",
            f"{pool['memory_max_mib']} ({pool['left']['memory_mib']:.0f})",
            str(pool["prefetch_count"]),
            f"{pool['time_limit']}/{pool['soft_time_limit']}",
            str(pool["stop_timeout"]),
            SIGNS[changes[name]["action"]] if changes is not None else "?",
        )
        for name, pool in entry["pools"].items()
    ]
    if entry["state"] == "refused":
        rows.append(_row("", "refused"))
    removed = [name for name, change in (changes or {}).items() if change["action"] == "remove"]
    rows += [_row(name, now=SIGNS["remove"]) for name in removed]
    return tuple(rows) or (_row("-"),)


def _row(pool: str, tasks: str = "", now: str = "") -> tuple[str, ...]:
    """Return a row of which most is empty."""
    return (pool, tasks, *("" for _ in _HEAD[4:]), now)


def _bound(pool: Mapping[str, Any]) -> str:
    return f"override (not {pool['derived']})" if pool["bound_by"] == "override" else str(pool["bound_by"])


def _tasks(pool: Mapping[str, Any]) -> str:
    least = f"{pool['autoscale']['min']}-" if pool["autoscale"]["enabled"] else ""
    return f"{least}{pool['concurrency']}"


def _change_notes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        for name, change in (entry["changes"] or {}).items():
            note = {"add": "new pool", "remove": "pool goes", "keep": ""}.get(change["action"]) or ", ".join(
                f"{field} {_or_none(two['now'])} → {_or_none(two['then'])}"
                for field, two in change["fields"].items()
            )
            if note:
                notes.setdefault(f"{SIGNS[change['action']]} {name}: {note}", []).append(entry["host"])
    return notes


def _override_notes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        for name, pool in entry["pools"].items():
            for override in pool["overrides"]:
                note = f"{_or_none(override['value'])} instead of {_or_none(override['replaced'])}"
                if override["field"].split(".")[0] == "environment":
                    note = "(not shown)"
                note = f"{name}: {override['field']} {note}, by {override['by']}"
                notes.setdefault(note, []).append(entry["host"])
    return notes


def _hardware_notes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        hardware = entry["hardware"]
        if hardware is None:
            note = "unknown: not reached, and no fleet_hardware declares it"
        else:
            note = f"{hardware['cores']:g} cores, {hardware['memory_mib']:g} MiB"
            note += " (declared)" if hardware["declared"] else ""
            note += (
                f" (limited by its container: {', '.join(hardware['limited'])})"
                if hardware["limited"]
                else ""
            )
        notes.setdefault(note, []).append(entry["host"])
    return notes


def _or_none(value: object) -> str:
    return "nothing" if value is None else str(value)


def plan_table(plans: Sequence[Mapping[str, Any]]) -> str:
    """Write host plans as a table for a person.

    Args:
        plans: What ``host_plan`` returned for each host.

    Returns:
        Lines of aligned columns: what runs where, and why that many. ``fits`` and ``left`` are by cores
        and by memory (cores, MiB), limits are in seconds, MiB is what the pool may use in all.
    """
    head = ("host", "pool", "tasks", "bound by", "fits", "left", "prefetch", "hard/soft", "MiB")
    rows: list[Sequence[str]] = [head]
    for plan in plans:
        for name, pool in plan["pools"].items():
            scales = f"{pool['autoscale']['min']}-" if pool["autoscale"]["enabled"] else ""
            stated = f" (not {pool['derived']})" if pool["bound_by"] == "override" else ""
            rows.append(
                (
                    plan["host"],
                    name,
                    f"{scales}{pool['concurrency']}",
                    f"{pool['bound_by']}{stated}",
                    "/".join("-" if n is None else str(n) for n in pool["fits"].values()),
                    f"{pool['left']['cores']:g}/{pool['left']['memory_mib']:.0f}",
                    str(pool["prefetch_count"]),
                    f"{pool['time_limit']}/{pool['soft_time_limit']}",
                    str(pool["memory_max_mib"]),
                )
            )
        if not plan["pools"]:
            rows.append((plan["host"], "-", *("" for _ in head[2:])))
    return "\n".join(columns(rows))
