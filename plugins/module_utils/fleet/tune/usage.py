"""What the tasks of a pool used, on one host or on several together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..host.exposition import quantile
from ..host.metrics import RUNTIME_EDGES


@dataclass(frozen=True)
class Task:
    """What one task did.

    Attributes:
        ended: Executions that ran to their end, or to their limit.
        limited: Those of them that a time limit ended.
        runtime_s: Their seconds in all.
        buckets: How many took so long, by the edges of the histogram, the last one beyond the last edge.
    """

    ended: float = 0.0
    limited: float = 0.0
    runtime_s: float = 0.0
    buckets: tuple[float, ...] = (0.0,) * (len(RUNTIME_EDGES) + 1)

    def plus(self, other: Task) -> Task:
        """Return both together."""
        return Task(
            self.ended + other.ended,
            self.limited + other.limited,
            self.runtime_s + other.runtime_s,
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
        )

    def quantile(self, share: float) -> float | None:
        """Return the seconds that so many executions took at most; none if there are none."""
        return quantile(share, RUNTIME_EDGES, self.buckets)

    @property
    def slowest(self) -> float | None:
        """Seconds that none took longer than; none if one took longer than the last edge, or none ran."""
        places = [place for place, count in enumerate(self.buckets) if count]
        return RUNTIME_EDGES[places[-1]] if places and places[-1] < len(RUNTIME_EDGES) else None


@dataclass(frozen=True)
class Usage:
    """What the tasks of a pool used.

    Attributes:
        span_s: For how long it was counted; on several hosts the longest.
        busy_s: Seconds of slots in which a task ran.
        slot_s: Seconds of slots, busy or free.
        cpu_s: Seconds of processors, where the kernel tells.
        cpu_busy_s: What of ``busy_s`` was there.
        cpu_span_s: The spans there, summed.
        held_s: Seconds that tasks waited in workers that had received them.
        held: Those tasks.
        recycled: Processes that were replaced for their number of tasks or their size.
        killed: Processes that a signal ended.
        oom_kills: Processes that the kernel killed because the pool's memory was used up.
        child_mib: Most memory of a process of a slot, with its part of the main process.
        smallest_mib: Least memory of one.
        child_tasks: Tasks that the present processes have run, by the pool's rate.
        peak_mib: Most memory of the pool on a host.
        tasks: What each task did.
        own_limits: The longest hard limit of tasks that run now, by their names (seconds).
    """

    span_s: float = 0.0
    busy_s: float = 0.0
    slot_s: float = 0.0
    cpu_s: float = 0.0
    cpu_busy_s: float = 0.0
    cpu_span_s: float = 0.0
    held_s: float = 0.0
    held: float = 0.0
    recycled: float = 0.0
    killed: float = 0.0
    oom_kills: int = 0
    child_mib: float | None = None
    smallest_mib: float | None = None
    child_tasks: float = 0.0
    peak_mib: float | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    own_limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def all_tasks(self) -> Task:
        """All tasks together."""
        whole = Task()
        for task in self.tasks.values():
            whole = whole.plus(task)
        return whole


def read_usage(raw: Mapping[str, Any], slots: int) -> Usage:
    """Read what a host says of one pool.

    Args:
        raw: What the module ``worker_usage`` returned of the pool.
        slots: Tasks that the pool runs at once there, which share its main process.
    """
    busy, span, cpu = raw["busy_s"], raw["span_s"], raw["cpu_s"]
    tasks = {
        name: Task(each["ended"], each["limited"], each["runtime_s"], tuple(each["buckets"]))
        for name, each in raw["tasks"].items()
    }
    ended = sum(task.ended for task in tasks.values())
    part = (raw["main_mib"] or 0.0) / max(slots, 1)
    sizes = [child["mib"] + part for child in raw["children"]]
    served_s = sum(child["age_s"] for child in raw["children"])
    known = cpu is not None and span is not None
    return Usage(
        span_s=span or 0.0,
        busy_s=busy,
        slot_s=raw["slot_s"],
        cpu_s=cpu if known else 0.0,
        cpu_busy_s=busy if known else 0.0,
        cpu_span_s=span if known else 0.0,
        held_s=raw["held_s"],
        held=raw["held"],
        recycled=raw["exits"]["recycled"],
        killed=raw["exits"]["killed"],
        oom_kills=raw["oom_kills"] or 0,
        child_mib=max(sizes, default=None),
        smallest_mib=min(sizes, default=None),
        child_tasks=min(ended, ended * served_s / raw["slot_s"]) if raw["slot_s"] else 0.0,
        peak_mib=raw["memory_peak_mib"],
        tasks=tasks,
        own_limits=raw["own_limits"],
    )


def together(usages: Iterable[Usage]) -> Usage:
    """Return what several hosts used together."""
    each = list(usages)
    tasks: dict[str, Task] = {}
    limits: dict[str, float] = {}
    for usage in each:
        for name, task in usage.tasks.items():
            tasks[name] = tasks.get(name, Task()).plus(task)
        for name, limit in usage.own_limits.items():
            limits[name] = max(limit, limits.get(name, 0.0))

    def most(values: Iterable[float | None]) -> float | None:
        return max((value for value in values if value is not None), default=None)

    sums = {
        name: sum(getattr(usage, name) for usage in each)
        for name in (
            "busy_s",
            "slot_s",
            "cpu_s",
            "cpu_busy_s",
            "cpu_span_s",
            "held_s",
            "held",
            "recycled",
            "killed",
            "oom_kills",
            "child_tasks",
        )
    }
    return Usage(
        **sums,
        span_s=max((usage.span_s for usage in each), default=0.0),
        child_mib=most(usage.child_mib for usage in each),
        smallest_mib=min((u.smallest_mib for u in each if u.smallest_mib is not None), default=None),
        peak_mib=most(usage.peak_mib for usage in each),
        tasks=tasks,
        own_limits=limits,
    )
