"""The plan of one host: its pools with every figure that a unit, a slice or a broker needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from .model import Findings, Model, Plain, Pool, effective_pools, exact, plain, read_model
from .sizing import Hardware, Size, size

# A unit may take its hard limit and a minute to stop.
STOP_MARGIN_S: Final = 60
# RabbitMQ looks at delivery times once a minute; five give a slow acknowledgement room.
CONSUMER_MARGIN_S: Final = 300
# Less than RabbitMQ's own default gains nothing.
CONSUMER_LEAST_S: Final = 1800
# Reclaim sets in before the limit that kills.
MEMORY_HIGH: Final = Fraction(95, 100)
# The main process with its own threads; each running task, with helpers such as an encoder.
TASKS_MAIN: Final = 64
TASKS_EACH: Final = 8


def consumer_timeout_s(pool: Pool) -> int:
    """Say how long the broker must wait for an acknowledgement.

    The last task of a prefetch window waits for those before it, each up to the hard limit; with
    autoscale the window is filled for the most processes while the fewest may drain it.

    Args:
        pool: A pool with its effective fields.

    Returns:
        Seconds.
    """
    rounds = pool.prefetch_multiplier
    if pool.autoscale.enabled and pool.autoscale.max and pool.autoscale.min:
        rounds = math.ceil(Fraction(pool.autoscale.max * pool.prefetch_multiplier, pool.autoscale.min))
    return max(rounds * pool.time_limit + CONSUMER_MARGIN_S, CONSUMER_LEAST_S)


def tasks_max(concurrency: int, cores: int) -> int:
    """Say how many processes and threads a pool's slice may hold.

    Numeric libraries and encoders start up to two threads per core in each task, and two releases of a
    pool may run side by side.

    Args:
        concurrency: Tasks that run at once.
        cores: Cores of the host.

    Returns:
        Twice (64 for the main process, and 8 + 2 x cores for each task).
    """
    return 2 * (TASKS_MAIN + concurrency * (TASKS_EACH + 2 * cores))


def read_hardware(raw: object, host: str, findings: Findings) -> Hardware | None:
    """Read what a host has.

    Args:
        raw: A mapping of ``cores`` and ``memory_mib``, or none if the facts are not known.
        host: The host's name, for messages.
        findings: Receives what is wrong.

    Returns:
        The hardware, or none if it is not known or not legal.
    """
    data = plain(raw)
    if data is None:
        return None
    if isinstance(data, dict):
        figures: list[Plain] = [data.get(key) for key in ("cores", "memory_mib")]
        if all(isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < 10**9 for n in figures):
            return Hardware(exact(figures[0]), exact(figures[1]))
    findings.add(
        "hardware/unreadable",
        "ansible_facts",
        data,
        "cores and memory_mib are not both known as numbers above 0",
        "gather facts from the host (setup) and look at processor_vcpus and memtotal_mb",
        where=host,
    )
    return None


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
    for name, found in sizes.items():
        pool = pools[name]
        share = f"{float(found.share):.0%} of the host after the reserve"
        for resource in found.short:
            field, unit, kind = (
                ("memory_mib", "MiB", "too-little-memory")
                if resource == "memory"
                else ("cores", "cores", "too-few-cores")
            )
            need = getattr(pool.demand, field) * pool.min_concurrency
            findings.add(
                f"sizing/{kind}",
                pool.variable("demand", field),
                _figure(getattr(pool.demand, field)),
                f"{pool.min_concurrency} task(s) of pool {name} need {_figure(need)} {unit}, "
                f"the pool has {_figure(found.budget[resource])} {unit} ({share})",
                "run the pool on a larger host, give it more weight, take another pool off the host, "
                "or lower the demand to what a task really uses",
                where=host,
            )
        if found.over and not found.short:
            variable = pool.variable(*(("autoscale", "max") if pool.autoscale.enabled else ("concurrency",)))
            findings.add(
                "sizing/over-budget",
                variable,
                found.concurrency,
                f"only {found.derived} task(s) of pool {name} fit its budget of "
                f"{_figure(found.budget['cores'])} cores and {_figure(found.budget['memory'])} MiB ({share})",
                f"set at most {found.derived}, or null to have it derived",
                where=host,
            )
    return sizes


def host_plan(
    raw_model: object,
    host: str,
    groups: Iterable[object],
    host_pools: object,
    hardware: object,
    nodename: object,
) -> dict[str, Any]:
    """Give the plan of one host.

    Args:
        raw_model: The mapping ``fleet_model``.
        host: The host's inventory name.
        groups: The groups that it is in.
        host_pools: What it changes or adds (``fleet_host_pools``).
        hardware: A mapping of ``cores`` and ``memory_mib``.
        nodename: The host's part of its node names.

    Returns:
        The plan in plain types; no pools for a host in no profile.

    Raises:
        ModelError: If the model is at fault or a pool does not fit; with all findings.
    """
    model, findings = read_model(raw_model)
    member = [str(group) for group in groups]
    pools = effective_pools(model, host, member, host_pools, findings)
    found = read_hardware(hardware, host, findings)
    if found is None:
        read_hardware({} if hardware is None else hardware, host, findings)
    sizes = size_host(model, host, pools, found, findings) if found else {}
    findings.refuse()
    if found is None:
        raise AssertionError("unknown hardware is a finding")
    return {
        "host": host,
        "profiles": [name for name in model.profiles if name in member],
        "hardware": {"cores": _number(found.cores), "memory_mib": _number(found.memory_mib)},
        "pools": {
            name: _pool_plan(pools[name], sized, math.ceil(found.cores), str(nodename))
            for name, sized in sizes.items()
        },
    }


def pool_fields(pool: Pool) -> dict[str, Any]:
    """Give the effective fields of a pool in plain types.

    Args:
        pool: A pool with its effective fields.

    Returns:
        The fields as the model writes them.
    """
    return {
        "name": pool.name,
        "kind": pool.kind,
        "exchange": pool.exchange,
        "exchange_type": pool.exchange_type,
        "queue_type": pool.queue_type,
        "queues": {
            queue.name: {
                "routing_key": queue.routing_key,
                "max_length": queue.max_length,
                "overflow": queue.overflow,
            }
            for queue in pool.queues.values()
        },
        "execution": pool.execution,
        "acknowledgement": pool.acknowledgement,
        "rollover": pool.rollover,
        "environment": dict(pool.environment),
        "prefetch_multiplier": pool.prefetch_multiplier,
        "max_tasks_per_child": pool.max_tasks_per_child,
        "time_limit": pool.time_limit,
        "soft_time_limit": pool.soft_time_limit,
        "autoscale": {
            "enabled": pool.autoscale.enabled,
            "min": pool.autoscale.min,
            "max": pool.autoscale.max,
        },
        "weight": _number(pool.weight),
        "demand": {"cores": _number(pool.demand.cores), "memory_mib": _number(pool.demand.memory_mib)},
    }


def _pool_plan(pool: Pool, sized: Size, cores: int, nodename: str) -> dict[str, Any]:
    memory_max = math.floor(sized.budget["memory"])
    return {
        **pool_fields(pool),
        "share": _number(sized.share),
        "concurrency": sized.concurrency,
        "derived": sized.derived,
        "bound_by": sized.bound_by,
        "fits": dict(sized.fits),
        "left": {"cores": _number(sized.left["cores"]), "memory_mib": _number(sized.left["memory"])},
        "node": f"{pool.name}_worker@{nodename}",
        "slice": f"celery-fleet-{pool.name}.slice",
        "unit": f"celery-fleet-{pool.name}@.service",
        "prefetch_count": sized.concurrency * pool.prefetch_multiplier,
        "stop_timeout": pool.time_limit + STOP_MARGIN_S,
        "consumer_timeout_ms": consumer_timeout_s(pool) * 1000,
        "memory_max_mib": memory_max,
        "memory_high_mib": math.floor(memory_max * MEMORY_HIGH),
        "cpu_weight": min(10000, max(1, round(sized.share * 10000))),
        "tasks_max": tasks_max(sized.concurrency, cores),
    }


def plan_table(plans: Sequence[Mapping[str, Any]]) -> str:
    """Write host plans as a table for a person.

    Args:
        plans: What ``host_plan`` gave for each host.

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
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


def _figure(value: Fraction) -> str:
    return f"{_number(value):.10g}"
