"""Each figure of a pool against what was measured, and what it should be instead.

A proposal follows from what was measured and, as to whether one is made at all, from the model. So once it is
in the model the same measurement proposes nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from ..model.types import Pool
from ..text import span
from .usage import Usage

# Share by which a figure may differ before another is proposed. A mean of 100 tasks whose demands vary by as
# much as their mean is off by 10 % (one standard error), half of it.
TOLERANCE: Final = 0.2
# Tasks, and seconds, below which nothing is proposed: of fewer tasks the slowest in a hundred is not seen,
# of a shorter time the hour's rest.
LEAST_TASKS: Final = 100
LEAST_SPAN_S: Final = 3600
# What is rare decides a limit, so a lower one needs so many times more tasks.
RARE: Final = 10
# Cores that an idle worker uses at most, in which no task has a part: measured 0.0023 in the first seven
# minutes of one, its start included.
IDLE_CORES: Final = 0.005
# A demand of nothing would bound no number of tasks.
LEAST_CORES: Final = 0.01
# More memory than the largest process had, for the next larger one.
HEADROOM: Final = 1.25
# The soft limit is raised to so many times what 99 of 100 tasks need, if they need this share of it; one that
# is more than so many times as long as any task is lowered to fewer, and never below (seconds).
LIMIT_RAISED: Final = 2
LIMIT_NEAR: Final = 0.8
LIMIT_FAR: Final = 10
LIMIT_LOWERED: Final = 4
LIMIT_LEAST_S: Final = 60
# Seconds of work that a slot holds in advance, and that a task may wait in a worker.
HELD_S: Final = 1.0
# Replaced processes from which on a rate is told, and the share of their number of tasks that is too early.
LEAST_RECYCLED: Final = 10
EARLY: Final = 0.5


@dataclass(frozen=True)
class Least:
    """How much must have been measured before anything is proposed.

    Attributes:
        tasks: Tasks that ended.
        span_s: Seconds for which they were counted.
    """

    tasks: float = LEAST_TASKS
    span_s: float = LEAST_SPAN_S

    def missing(self, tasks: float, used: Usage, times: int = 1) -> str:
        """Return why a sample is too small, empty if it is not.

        Args:
            tasks: Tasks in it.
            used: What it is of.
            times: How many times as many tasks it needs.
        """
        if tasks < self.tasks * times:
            return f"too few tasks, {self.tasks * times:.0f} are needed"
        return f"too short, {span(self.span_s)} are needed" if used.span_s < self.span_s else ""


@dataclass(frozen=True)
class Figure:
    """A figure of the model and what was measured.

    Attributes:
        name: Dotted path of the field of the pool.
        model: What the model says.
        measured: What was measured; none if it is not known.
        tasks: Tasks of which it was measured.
        note: What the measurement is, or why nothing is proposed.
        proposal: Fields by their paths, and what they should be.
    """

    name: str
    model: float
    measured: float | None
    tasks: float
    note: str = ""
    proposal: Mapping[str, float] = field(default_factory=dict)


def figures(pool: Pool, used: Usage, least: Least) -> list[Figure]:
    """Compare a pool with what its tasks used.

    Args:
        pool: The pool with its effective fields.
        used: What its tasks used.
        least: How much must have been measured.
    """
    return [each(pool, used, least) for each in (_cores, _memory, _limits, _held, _recycling)]


def rounded(value: float) -> float:
    """Return two digits of a figure, never less than it: a person writes no more."""
    if value <= 0:
        return 0
    unit = Fraction(10) ** (math.floor(math.log10(value)) - 1)
    # What arithmetic of floats adds is no reason for the next figure.
    up = math.ceil(Fraction(value) / unit - Fraction(1, 10**6)) * unit
    return int(up) if up.denominator == 1 else float(up)


def whole(value: float) -> int:
    """Return ``rounded`` as a whole number."""
    return math.ceil(rounded(value))


def _cores(pool: Pool, used: Usage, least: Least) -> Figure:
    model, tasks = float(pool.demand.cores), used.all_tasks.ended
    name = "demand.cores"
    if not used.cpu_busy_s:
        return Figure(name, model, None, tasks, "the kernel does not tell" if used.busy_s else "no task ran")
    measured = used.cpu_s / used.cpu_busy_s
    doubt = IDLE_CORES * used.cpu_span_s / used.cpu_busy_s
    if missing := least.missing(tasks, used):
        return Figure(name, model, measured, tasks, missing)
    if doubt > TOLERANCE * max(model, measured):
        return Figure(name, model, measured, tasks, "too idle: what workers use between tasks would count")
    proposed = rounded(max(measured, LEAST_CORES))
    if not model or not _differs(model, proposed):
        return Figure(name, model, measured, tasks)
    return Figure(name, model, measured, tasks, "", {name: proposed})


def _memory(pool: Pool, used: Usage, least: Least) -> Figure:
    model, name = float(pool.demand.memory_mib), "demand.memory_mib"
    if used.child_mib is None or used.smallest_mib is None:
        note = "its tasks share one process" if pool.execution != "prefork" else "no process runs"
        return Figure(name, model, None, 0, note)
    note = f"processes have {used.smallest_mib:.0f} to {used.child_mib:.0f} MiB"
    figure = Figure(name, model, used.child_mib, used.child_tasks, note)
    if missing := least.missing(used.child_tasks, used):
        return Figure(name, model, used.child_mib, used.child_tasks, f"{note}; {missing}")
    proposed = whole(used.child_mib * HEADROOM)
    if not model or not _differs(model, proposed):
        return figure
    if proposed < model and used.oom_kills:
        return Figure(name, model, used.child_mib, used.child_tasks, f"{note}; the kernel has killed some")
    return Figure(name, model, used.child_mib, used.child_tasks, note, {name: proposed})


def _limits(pool: Pool, used: Usage, least: Least) -> Figure:
    name, task, soft = "soft_time_limit", used.all_tasks, pool.soft_time_limit
    usual, most, slowest = task.quantile(0.5), task.quantile(0.99), task.slowest
    if usual is None or most is None:
        return Figure(name, soft, None, task.ended, "no task ran")
    longest = "longer" if slowest is None else f"at most {span(slowest)}"
    note = f"half {usual:.3g} s, 99 of 100 {most:.3g} s, the slowest {longest}"
    if task.limited:
        note += f"; {task.limited:.0f} ended by a limit"

    def answer(missing: str = "", then: float = 0) -> Figure:
        proposal: dict[str, float] = {}
        if then:
            hard = whole(then * pool.time_limit / soft)
            proposal = {name: then, "time_limit": max(hard, math.ceil(then) + 1)}
        told = f"{note}; {missing}" if missing else note
        return Figure(name, soft, most, task.ended, told, proposal)

    if most >= LIMIT_NEAR * soft:
        missing = least.missing(task.ended, used)
        return answer(missing, 0 if missing else whole(LIMIT_RAISED * most))
    if slowest is not None and soft > max(LIMIT_FAR * slowest, LIMIT_LEAST_S):
        missing = least.missing(task.ended, used, RARE)
        return answer(missing, 0 if missing else max(LIMIT_LEAST_S, whole(LIMIT_LOWERED * slowest)))
    return answer()


def _held(pool: Pool, used: Usage, least: Least) -> Figure:
    name, model, task = "prefetch_multiplier", pool.prefetch_multiplier, used.all_tasks
    if not used.held or not task.ended:
        return Figure(name, model, None, used.held, "no task ran")
    waited, runtime = used.held_s / used.held, task.runtime_s / task.ended
    note = f"a task waits {waited:.3g} s in its worker and runs {runtime:.3g} s"
    needed = max(1, math.ceil(HELD_S / runtime)) if runtime else model
    if waited <= max(HELD_S, runtime) or needed >= model:
        return Figure(name, model, waited, used.held, note)
    if missing := least.missing(used.held, used):
        return Figure(name, model, waited, used.held, f"{note}; {missing}")
    return Figure(name, model, waited, used.held, note, {name: needed})


def _recycling(pool: Pool, used: Usage, least: Least) -> Figure:
    del least
    name, model, tasks = "max_tasks_per_child", pool.max_tasks_per_child, used.all_tasks.ended
    note = (
        f"{used.recycled:.0f} replaced, {used.killed:.0f} killed, {used.oom_kills} of them for want of memory"
    )
    if not used.recycled:
        return Figure(name, model, None, tasks, note)
    measured = tasks / used.recycled
    if used.recycled >= LEAST_RECYCLED and measured < EARLY * model:
        note += "; most are replaced for having grown beyond demand.memory_mib"
    return Figure(name, model, measured, tasks, note)


def _differs(model: float, proposed: float) -> bool:
    return abs(proposed - model) > TOLERANCE * model
