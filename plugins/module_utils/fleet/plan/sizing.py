"""How many tasks of each pool a host runs at once.

The largest n such that n running tasks fit the share of the host that the pool has::

    n = min over r in {cores, memory} of floor(share * (1 - reserve_r) * capacity_r / demand_r)

then clamped to the pool's range. All arithmetic is exact: figures are taken by their decimal digits, so
that three cores at 0.06 a task hold 50 of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ..model.types import Pool, Reserve

RESOURCES: Final = ("cores", "memory")


@dataclass(frozen=True)
class Hardware:
    """What a host has, and what it may use of that.

    Attributes:
        cores: Virtual processors that the host shows.
        memory_mib: Memory that the host shows (MiB).
        cores_limit: Cores that a container's quota allows; none without one.
        memory_limit_mib: Memory that a container may use (MiB); none without a limit.
        declared: Whether the inventory says so (``fleet_hardware``), instead of the host itself.
    """

    cores: Fraction
    memory_mib: Fraction
    cores_limit: Fraction | None = None
    memory_limit_mib: Fraction | None = None
    declared: bool = False

    @property
    def usable_cores(self) -> Fraction:
        """Cores that may be planned with, before the reserve."""
        return self.cores if self.cores_limit is None else min(self.cores, self.cores_limit)

    @property
    def usable_memory_mib(self) -> Fraction:
        """Memory that may be planned with, before the reserve (MiB)."""
        limit = self.memory_limit_mib
        return self.memory_mib if limit is None else min(self.memory_mib, limit)


@dataclass(frozen=True)
class Size:
    """What a pool gets on one host, and why.

    Attributes:
        share: The pool's part of what may be planned with, 0 to 1; the pools of a host sum to 1.
        budget: That part per resource (cores, MiB).
        fits: Tasks that fit per resource; none where a task needs nothing of it.
        derived: What the rule gives, within the pool's ``max_concurrency``.
        concurrency: Tasks that run at once: the derived figure, or what the model says instead.
        bound_by: ``cores`` or ``memory``, ``max`` for ``max_concurrency``, or ``override`` for a figure
            of the model.
        left: What remains of the budget per resource when all of them run (cores, MiB).
        short: Resources of which there is too little for ``min_concurrency`` tasks.
        over: Whether a figure of the model is more than fits.
    """

    share: Fraction
    budget: Mapping[str, Fraction]
    fits: Mapping[str, int | None]
    derived: int
    concurrency: int
    bound_by: str
    left: Mapping[str, Fraction]
    short: tuple[str, ...]
    over: bool


def size(pools: Mapping[str, Pool], hardware: Hardware, reserve: Reserve) -> dict[str, Size]:
    """Size the pools of one host.

    Args:
        pools: The host's pools with their effective fields.
        hardware: What the host has.
        reserve: The shares of it that no pool plans with.

    Returns:
        A size for each pool. One with ``short`` or ``over`` must not be built.
    """
    plannable = {
        "cores": (1 - reserve.cores) * hardware.usable_cores,
        "memory": (1 - reserve.memory) * hardware.usable_memory_mib,
    }
    weights = sum((pool.weight for pool in pools.values()), Fraction(0))
    return {name: _size(pool, pool.weight / weights, plannable) for name, pool in pools.items()}


def _size(pool: Pool, share: Fraction, plannable: Mapping[str, Fraction]) -> Size:
    demand = {"cores": pool.demand.cores, "memory": pool.demand.memory_mib}
    budget = {resource: share * plannable[resource] for resource in RESOURCES}
    fits = {r: math.floor(budget[r] / demand[r]) if demand[r] else None for r in RESOURCES}
    bounds = {r: n for r, n in fits.items() if n is not None}
    if pool.max_concurrency is not None:
        bounds["max"] = pool.max_concurrency
    bound_by = min(bounds, key=lambda bound: bounds[bound])
    derived = bounds[bound_by]
    stated = pool.autoscale.max if pool.autoscale.enabled else pool.concurrency
    concurrency = derived if stated is None else stated
    return Size(
        share=share,
        budget=budget,
        fits=fits,
        derived=derived,
        concurrency=concurrency,
        bound_by=bound_by if stated is None else "override",
        left={r: budget[r] - concurrency * demand[r] for r in RESOURCES},
        short=tuple(r for r in RESOURCES if (n := fits[r]) is not None and n < pool.min_concurrency),
        over=any(n is not None and concurrency > n for n in fits.values()),
    )
