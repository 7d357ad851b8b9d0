"""The plan of the whole fleet: what would run where, why, and what that changes; as data and as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from .installed import changes
from .model import plain, read_model
from .plan import plan_host, pool_fields
from .table import columns

SCHEMA: Final = 1
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


def fleet_plan(raw_model: object, hosts: object) -> dict[str, Any]:
    """Plan a fleet, host by host.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: For each worker host its ``groups`` and ``host_pools``, its ``hardware`` as ``read_hardware``
            takes it (none if it is not known), and, if known, its ``nodename`` and what is ``installed``
            on it, as ``read_units`` gives it.

    Returns:
        In plain types the ``pools`` of the model, the ``hosts`` (each with its ``state``: ``planned``,
        ``refused`` if its pools do not fit, ``unknown`` if nothing is known of its hardware; its plan, and
        its ``changes``, none if nobody has looked) and the ``findings``. Environments are named, not shown.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    entries = []
    for host, given in plain(hosts).items():
        mine = findings.fresh()
        plan = plan_host(
            model,
            host,
            given.get("groups") or [],
            given.get("host_pools"),
            given.get("hardware"),
            given.get("nodename") or host,
            mine,
        )
        entries.append(_entry(host, plan, given.get("installed"), bool(mine.errors)))
        findings.extend(mine)
    return {
        "schema": SCHEMA,
        "pools": {name: _shown(pool_fields(pool)) for name, pool in model.pools.items()},
        "hosts": entries,
        "findings": [asdict(finding) for finding in findings],
    }


def _entry(
    host: str, plan: Mapping[str, Any] | None, installed: Mapping[str, Any] | None, refused: bool
) -> dict[str, Any]:
    pools = plan["pools"] if plan else {}
    state = "refused" if refused else "planned" if plan else "unknown"
    return {
        "host": host,
        "state": state,
        "profiles": plan["profiles"] if plan else [],
        "hardware": plan["hardware"] if plan else None,
        "pools": {name: _shown(pool) for name, pool in pools.items()},
        "changes": changes(pools, installed) if installed is not None and state == "planned" else None,
    }


def _shown(pool: Mapping[str, Any]) -> dict[str, Any]:
    return {**pool, "environment": sorted(pool["environment"])}


def host_ranges(hosts: Iterable[str]) -> list[str]:
    """Write names of hosts as an inventory does, such as ``cpu-[1:6].example.com``.

    Args:
        hosts: Names.

    Returns:
        Names and ranges, in the order of the first of each.
    """
    names = list(dict.fromkeys(hosts))
    most = max((len(re.findall(r"\d+", name)) for name in names), default=0)
    return min(
        (_ranges(names, at) for at in range(max(most, 1))),
        key=len,
    )


def _ranges(names: Sequence[str], at: int) -> list[str]:
    """Write names as ranges of the number at a position."""
    found: dict[tuple[str, str, int], list[int]] = {}
    parts = {name: list(re.finditer(r"\d+", name))[at : at + 1] for name in names}
    padded = any(
        len(number[0]) > 1 and number[0][0] == "0" for numbers in parts.values() for number in numbers
    )
    for name, numbers in parts.items():
        if not numbers:
            found[name, "", 0] = []
            continue
        number = numbers[0]
        width = len(number[0]) if padded else 0
        found.setdefault((name[: number.start()], name[number.end() :], width), []).append(int(number[0]))
    ranges = []
    for (before, after, width), values in found.items():
        for first, last in _runs(sorted(values)):
            inside = f"{first:0{width}}" if first == last else f"[{first:0{width}}:{last:0{width}}]"
            ranges.append(f"{before}{inside}{after}")
        if not values:
            ranges.append(before)
    return ranges


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def fleet_text(document: Mapping[str, Any]) -> str:
    """Write a fleet's plan for a person; hosts of which it says the same share their lines.

    Args:
        document: What ``fleet_plan`` gave.

    Returns:
        A table and, where there are any, the changes, the overrides and the hosts that are not known.
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
    return "\n".join(lines)


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
    found = entry["changes"]
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
            SIGNS[found[name]["action"]] if found is not None else "?",
        )
        for name, pool in entry["pools"].items()
    ]
    if entry["state"] == "refused":
        rows.append(_row("", "refused"))
    gone = [name for name, change in (found or {}).items() if change["action"] == "remove"]
    rows += [_row(name, now=SIGNS["remove"]) for name in gone]
    return tuple(rows) or (_row("-"),)


def _row(pool: str, tasks: str = "", now: str = "") -> tuple[str, ...]:
    """Give a row of which most is empty."""
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
            said = {"add": "new pool", "remove": "pool goes", "keep": ""}.get(change["action"]) or ", ".join(
                f"{field} {_or_none(two['now'])} → {_or_none(two['then'])}"
                for field, two in change["fields"].items()
            )
            if said:
                notes.setdefault(f"{SIGNS[change['action']]} {name}: {said}", []).append(entry["host"])
    return notes


def _override_notes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        for name, pool in entry["pools"].items():
            for override in pool["overrides"]:
                said = f"{_or_none(override['value'])} instead of {_or_none(override['replaced'])}"
                if override["field"].split(".")[0] == "environment":
                    said = "(not shown)"
                said = f"{name}: {override['field']} {said}, by {override['by']}"
                notes.setdefault(said, []).append(entry["host"])
    return notes


def _hardware_notes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        hardware = entry["hardware"]
        if hardware is None:
            said = "unknown: not reached, and no fleet_hardware declares it"
        else:
            said = f"{hardware['cores']:g} cores, {hardware['memory_mib']:g} MiB"
            said += " (declared)" if hardware["declared"] else ""
            said += (
                f" (limited by its container: {', '.join(hardware['limited'])})"
                if hardware["limited"]
                else ""
            )
        notes.setdefault(said, []).append(entry["host"])
    return notes


def _or_none(value: object) -> str:
    return "nothing" if value is None else str(value)
