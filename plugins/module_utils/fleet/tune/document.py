"""What tasks used against the model, of the whole fleet, as one document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ..findings import Findings
from ..model.host import Host, read_hosts
from ..model.plain import plain
from ..model.pools import effective_pools
from ..model.read import read_model
from ..model.types import Model, Pool
from ..plan.host import build_plan
from .figures import Figure, Least, figures
from .layer import BELOW, HOST, changed, merged, set_by
from .usage import Usage, read_usage, together

SCHEMA: Final = 1
# A task that takes so many times as long as half of its pool's tasks, and at least so long (seconds), is in
# the wrong pool; of fewer of them than this nothing is said.
MISFIT_TIMES: Final = 10
MISFIT_LEAST_S: Final = 1.0
MISFIT_TASKS: Final = 20
# Figures of a plan that follow from those of a pool.
_THEN: Final = (
    "concurrency",
    "prefetch_count",
    "soft_time_limit",
    "time_limit",
    "stop_timeout",
    "max_memory_per_child_kib",
)


@dataclass(frozen=True)
class _Group:
    """Hosts on which one variable gives a field of a pool."""

    pool: Pool
    variable: str
    host: str | None
    usages: list[Usage] = field(default_factory=list)


def tune(
    raw_model: object, hosts: object, used: Mapping[str, Any], least: Least | None = None
) -> dict[str, Any]:
    """Compare a fleet's model with what its tasks used.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: Every worker host, as ``read_hosts`` takes them.
        used: By host what the module ``worker_usage`` returned, or ``unreachable``.
        least: How much must have been measured before anything is proposed.

    Returns:
        In plain types the ``figures`` with their proposals, the tasks that do not fit (``misfits``), the
        ``shares`` of the pools on their hosts, what the plan would become (``plan``) and the layer to
        write (``tuned``, empty if nothing in it would change).

    Raises:
        ModelError: If the model is at fault or a pool does not fit its host; with all findings.
    """
    raw, known = plain(raw_model), plain(hosts)
    least = least or Least()
    model, plans = _planned(raw, known)
    measured = _measured(model, read_hosts(known), plans, used)
    rows = [
        row for figure_rows in (_rows(pools, least) for pools in _by_pool(measured)) for row in figure_rows
    ]
    before = dict(raw.get("tuned_pools") or {})
    then_raw, then_hosts = raw, known
    for at, row in enumerate(rows):
        if not row["proposal"]:
            continue
        trial = changed(then_raw, then_hosts, row)
        # What a host alone has cannot make another one refused.
        if refusal := _refusal(trial[0], {row["host"]: trial[1][row["host"]]} if row["host"] else trial[1]):
            rows[at] = {**row, "refused": refusal}
        else:
            then_raw, then_hosts = trial
    after = dict(then_raw.get("tuned_pools") or {})
    return {
        "schema": SCHEMA,
        "least": asdict(least),
        "hosts": {host: _state(used.get(host)) for host in known},
        "figures": rows,
        "misfits": [misfit for pools in _by_pool(measured) for misfit in _misfits(pools)],
        "shares": _shares(measured, plans),
        "plan": _changes(plans, _planned(then_raw, then_hosts)[1]),
        "tuned": merged(before, after) if after != before else {},
    }


# By host and pool, the pool with its effective fields and what its tasks used.
Measured = Mapping[str, Mapping[str, tuple[Pool, Usage]]]


def _planned(raw: object, known: object) -> tuple[Model, dict[str, dict[str, Any]]]:
    model, findings = read_model(raw)
    plans = {name: build_plan(model, host, findings) for name, host in read_hosts(known).items()}
    findings.refuse()
    return model, {name: each for name, each in plans.items() if each}


def _refusal(raw: object, known: object) -> str:
    """Return why a model would be refused, empty if it would not."""
    model, findings = read_model(raw)
    for host in read_hosts(known).values():
        build_plan(model, host, findings)
    return findings.errors[0].reason if findings.errors else ""


def _measured(
    model: Model,
    hosts: Mapping[str, Host],
    plans: Mapping[str, Mapping[str, Any]],
    used: Mapping[str, Any],
) -> Measured:
    measured: dict[str, dict[str, tuple[Pool, Usage]]] = {}
    for name, host in hosts.items():
        told = (used.get(name) or {}).get("pools") or {}
        planned = plans.get(name, {}).get("pools", {})
        measured[name] = {
            pool.name: (
                pool,
                read_usage(told[pool.name], planned[pool.name]["concurrency"] if planned else 1),
            )
            for pool in effective_pools(model, host, Findings()).values()
            if pool.name in told
        }
    return measured


def _by_pool(measured: Measured) -> list[dict[str, tuple[Pool, Usage]]]:
    """Return for each pool its hosts, in the order in which pools are met."""
    pools: dict[str, dict[str, tuple[Pool, Usage]]] = {}
    for host, each in measured.items():
        for name, pair in each.items():
            pools.setdefault(name, {})[host] = pair
    return list(pools.values())


def _rows(hosts: Mapping[str, tuple[Pool, Usage]], least: Least) -> list[dict[str, Any]]:
    """Return the figures of a pool: of all hosts on which the same variable gives a field, together."""
    names = [figure.name for figure in figures(*next(iter(hosts.values())), least)]
    rows = []
    for at, name in enumerate(names):
        groups: dict[tuple[str, str | None], _Group] = {}
        for host, (pool, usage) in hosts.items():
            variable = set_by(pool, name)
            own = host if variable.startswith(f"{HOST}.") else None
            groups.setdefault((variable, own), _Group(pool, variable, own)).usages.append(usage)
        for group in groups.values():
            usage = together(group.usages)
            rows.append(_row(group, figures(group.pool, usage, least)[at], usage))
    return rows


def _row(group: _Group, figure: Figure, usage: Usage) -> dict[str, Any]:
    return {
        "pool": group.pool.name,
        "host": group.host,
        "hosts": len(group.usages),
        "figure": figure.name,
        "model": figure.model,
        "measured": figure.measured,
        "tasks": round(figure.tasks),
        "span_s": round(usage.span_s),
        "note": figure.note,
        "proposal": dict(figure.proposal),
        "set_by": {path: set_by(group.pool, path) for path in figure.proposal},
        # Whether the tuned layer can carry it.
        "by_layer": all(set_by(group.pool, path).split(".")[0] in BELOW for path in figure.proposal),
        "refused": "",
    }


def _misfits(hosts: Mapping[str, tuple[Pool, Usage]]) -> list[dict[str, Any]]:
    pool = next(iter(hosts.values()))[0]
    usage = together(usage for _, usage in hosts.values())
    usual = usage.all_tasks.quantile(0.5) or 0.0
    misfits = []
    for name, task in usage.tasks.items():
        own = task.quantile(0.5) or 0.0
        if task.ended >= MISFIT_TASKS and own >= max(MISFIT_LEAST_S, MISFIT_TIMES * usual):
            misfits.append(
                {
                    "pool": pool.name,
                    "task": name,
                    "tasks": round(task.ended),
                    "why": f"half of it takes {own:.3g} s or more, half of the pool's tasks {usual:.3g} s",
                }
            )
    for name, limit in usage.own_limits.items():
        if limit > pool.time_limit:
            misfits.append(
                {
                    "pool": pool.name,
                    "task": name,
                    "tasks": round(usage.tasks[name].ended) if name in usage.tasks else 0,
                    "why": f"its own limit of {limit:.0f} s exceeds the pool's {pool.time_limit} s",
                }
            )
    return misfits


def _shares(measured: Measured, plans: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each pool has of its hosts and used of them, for hosts with the same pools together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for host, pools in measured.items():
        if host in plans and len(pools) > 1:
            alike.setdefault(tuple(pools), []).append(host)
    shares = []
    for names, hosts in alike.items():
        used = {pool: together(measured[host][pool][1] for host in hosts) for pool in names}
        whole = sum(usage.cpu_s for usage in used.values())
        for pool, usage in used.items():
            shares.append(
                {
                    "hosts": hosts,
                    "pool": pool,
                    "share": sum(plans[host]["pools"][pool]["share"] for host in hosts) / len(hosts),
                    "cpu": usage.cpu_s / whole if whole else None,
                    "busy": usage.busy_s / usage.slot_s if usage.slot_s else None,
                    "memory_peak_mib": usage.peak_mib,
                }
            )
    return shares


def _changes(
    now: Mapping[str, Mapping[str, Any]], then: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return what the plan would become, host by host."""
    return [
        {
            "host": host,
            "pool": pool,
            "field": name,
            "now": figures[name],
            "then": then[host]["pools"][pool][name],
        }
        for host, planned in now.items()
        for pool, figures in planned["pools"].items()
        for name in _THEN
        if figures[name] != then[host]["pools"][pool][name]
    ]


def _state(told: Any) -> str:  # noqa: ANN401 - a module's result
    if not told:
        return "not asked"
    if told.get("unreachable"):
        return "unreachable"
    return "read" if "pools" in told else "failed"
