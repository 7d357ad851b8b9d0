"""What the tasks of a host's pools used: by the counters, control groups and processes of workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from . import cgroup, counters, processes
from .machine import Machine
from .metrics import EXITS, STATES
from .names import COUNTERS, INSTANCES, PREFIX, Name, below, slice_of
from .status import PROPERTIES, read_units

MIB: Final = 1024 * 1024
# How a task ends that has run to its end, or to its limit.
_RAN: Final = ("success", "failure", "retry")
_LIMITS: Final = ("soft_time_limit", "time_limit")
_SLICES: Final = f"{PREFIX}*.slice"


def read(host: Machine) -> dict[str, Any]:
    """Read what the tasks of each pool used.

    Args:
        host: The host.

    Returns:
        In plain types ``pools`` by name, and how many files of counters could not be read (``errors``).

    Raises:
        SystemdError: If systemd gives no answer.
    """
    monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
    shown = host.systemctl("show", f"--property={','.join(PROPERTIES)}", "--", INSTANCES, _SLICES)
    units = {unit["Id"]: unit for unit in read_units(shown)}
    pids = processes.by_unit(host.root)
    mains: dict[str, list[str]] = {}
    for unit in units:
        name = Name.parse(unit)
        pid = units[unit].get("MainPID", "")
        if name and pid.isdecimal() and pid != "0":
            mains.setdefault(name.pool, []).append(pid)
    places = below(host.root, COUNTERS)
    counted = {path.name for path in places.iterdir()} if places.is_dir() else set()
    pools, errors = {}, 0
    for pool in sorted(counted | mains.keys()):
        figures, unreadable = counters.read(places / pool)
        errors += unreadable
        entered = units.get(slice_of(pool), {}).get("ActiveEnterTimestampMonotonic", "")
        running = mains.get(pool, ())
        own = [unit for unit in units if (name := Name.parse(unit)) and name.pool == pool]
        pools[pool] = {
            "span_s": monotonic - int(entered) / 1e6 if entered.isdecimal() and entered != "0" else None,
            **_counted(figures),
            **_budget(running, slice_of(pool), host.root),
            **_processes(running, [pid for unit in own for pid in pids.get(unit, ())], monotonic, host.root),
            "own_limits": _own_limits(host.state(unit) for unit in own),
        }
    return {"pools": pools, "errors": errors}


def _counted(figures: counters.Figures) -> dict[str, Any]:
    names = (*counters.POOL, *EXITS)
    whole = dict(zip(names, figures.get(("pool",), [0.0] * len(names)), strict=True))
    tasks: dict[str, dict[str, Any]] = {}
    for (kind, *name), values in figures.items():
        if kind == "task":
            ends = dict(zip(STATES, values, strict=False))
            total, *buckets = values[len(STATES) :]
            ended = sum(ends[state] for state in _RAN)
            tasks[name[0]] = {"ended": ended, "limited": 0.0, "runtime_s": total, "buckets": buckets}
    for (kind, *name), values in figures.items():
        if kind == "failure" and name[1] in _LIMITS and name[0] in tasks:
            tasks[name[0]]["limited"] += values[0]
    return {
        "busy_s": whole["busy_seconds_total"],
        "slot_s": whole["slot_seconds_total"],
        "held_s": whole["task_prefetch_seconds_sum"],
        "held": whole["task_prefetch_seconds_count"],
        "exits": {reason: whole[reason] for reason in EXITS},
        "tasks": tasks,
    }


def _budget(running: Iterable[str], group: str, root: Path) -> dict[str, Any]:
    process = next(iter(running), None)
    used = cgroup.usage(process, group, root) if process else cgroup.Usage()
    return {
        "cpu_s": used.cpu_seconds,
        "memory_mib": None if used.memory is None else used.memory / MIB,
        "memory_peak_mib": None if used.memory_peak is None else used.memory_peak / MIB,
        "oom_kills": cgroup.oom_kills(process, group, root) if process else None,
    }


def _processes(running: Iterable[str], pids: Iterable[str], monotonic: float, root: Path) -> dict[str, Any]:
    """Return the sizes of main processes, and of each child with everything that it has started."""
    mains = set(running)
    known = {pid: each for pid in pids if (each := processes.process(pid, root))}
    children: dict[str, float] = {pid: 0.0 for pid, each in known.items() if each.parent in mains}
    for pid in known.keys() - mains:
        child = pid
        while child not in children and child in known and known[child].parent != child:
            child = known[child].parent
        if child in children:
            children[child] += (processes.peak(pid, root) or 0) / MIB
    sizes = [used / MIB for pid in mains if (used := processes.size(pid, root)) is not None]
    return {
        "main_mib": sum(sizes) if sizes else None,
        "children": [
            {"mib": used, "age_s": max(0.0, monotonic - known[pid].started)} for pid, used in children.items()
        ],
    }


def _own_limits(states: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the longest limit of each task that runs now."""
    limits: dict[str, float] = {}
    for state in states:
        for task in state.get("active", ()):
            name, limit = task.get("name"), task.get("time_limit")
            if isinstance(name, str) and isinstance(limit, int | float):
                limits[name] = max(limit, limits.get(name, 0.0))
    return limits
