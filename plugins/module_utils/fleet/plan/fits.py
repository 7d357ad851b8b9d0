"""Whether the pools of a host fit it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from ..findings import Findings
from ..model.types import Model, Pool
from .figures import figure_text
from .sizing import Hardware, Size, size


def size_host(
    model: Model, host: str, pools: Mapping[str, Pool], hardware: Hardware, findings: Findings
) -> dict[str, Size]:
    """Size the pools of a host and find where they do not fit.

    Args:
        model: The fleet.
        host: The host's name, for messages.
        pools: Its pools with their effective fields.
        hardware: What it has.
        findings: Receives what does not fit.

    Returns:
        A size for each pool.
    """
    sizes = size(pools, hardware, model.reserve) if pools else {}
    for name, sized in sizes.items():
        pool = pools[name]
        share = f"{float(sized.share):.0%} of the host after the reserve"
        for resource in sized.short:
            field, unit, kind = (
                ("memory_mib", "MiB", "too-little-memory")
                if resource == "memory"
                else ("cores", "cores", "too-few-cores")
            )
            need = getattr(pool.demand, field) * pool.min_concurrency
            findings.add(
                f"sizing/{kind}",
                pool.variable("demand", field),
                figure_text(getattr(pool.demand, field)),
                f"{pool.min_concurrency} task(s) of pool {name} need {figure_text(need)} {unit}, "
                f"the pool has {figure_text(sized.budget[resource])} {unit} ({share})",
                "run the pool on a larger host, give it more weight, take another pool off the host, "
                "or lower the demand to what a task really uses",
                where=host,
            )
        most = math.floor(hardware.usable_cores)
        if pool.kind == "cpu" and sized.concurrency > max(most, sized.derived):
            findings.add(
                "mistake/more-tasks-than-cores",
                _stated(pool),
                sized.concurrency,
                f"pool {name} would run {sized.concurrency} tasks at once on "
                f"{figure_text(hardware.usable_cores)} cores; {sized.derived} fit",
                f"set at most {sized.derived}, or null to have it derived",
                where=host,
            )
        elif sized.over and not sized.short:
            findings.add(
                "sizing/over-budget",
                _stated(pool),
                sized.concurrency,
                f"only {sized.derived} task(s) of pool {name} fit its budget of "
                f"{figure_text(sized.budget['cores'])} cores and "
                f"{figure_text(sized.budget['memory'])} MiB ({share})",
                f"set at most {sized.derived}, or null to have it derived",
                where=host,
            )
    stated = {name: sized for name, sized in sizes.items() if sized.bound_by == "override"}
    needed = {name: sized.concurrency * pools[name].demand.memory_mib for name, sized in sizes.items()}
    total = sum(needed.values(), Fraction(0))
    if stated and total > hardware.usable_memory_mib:
        name = max(stated, key=lambda name: needed[name])
        findings.add(
            "sizing/over-host",
            _stated(pools[name]),
            stated[name].concurrency,
            f"all tasks of its pools together need {figure_text(total)} MiB, "
            f"the host has {figure_text(hardware.usable_memory_mib)} MiB",
            where=host,
        )
    return sizes


def _stated(pool: Pool) -> str:
    """Name the variable that states how many tasks of a pool run at once."""
    return pool.variable(*(("autoscale", "max") if pool.autoscale.enabled else ("concurrency",)))
