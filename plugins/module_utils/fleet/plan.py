"""The plan of one host: its pools with every figure that a unit, a slice or a broker needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any, Final

from .findings import Findings, show
from .model import (
    LARGEST,
    Model,
    Plain,
    Pool,
    effective_pools,
    exact,
    merge,
    plain,
    read_model,
    texts,
)
from .sizing import Hardware, Size, size
from .table import columns

# A unit may take its hard limit and a minute to stop.
STOP_MARGIN_S: Final = 60
# RabbitMQ looks at delivery times once a minute; five give a slow acknowledgement room.
CONSUMER_MARGIN_S: Final = 300
# Less than RabbitMQ's own default gains nothing.
CONSUMER_LEAST_S: Final = 1800
MIB_PER_GIB: Final = 1024
# The lowest layers of a pool; whatever lies above them overrides them.
BASE: Final = ("fleet_pool_defaults", "fleet_pools")
# Of the memory that is ordered a kernel keeps up to this share, the more of it the smaller the host.
KERNEL_SHARE: Final = Fraction(7, 100)
# Reclaim sets in before the limit that kills.
MEMORY_HIGH: Final = Fraction(95, 100)

KIB_PER_MIB: Final = 1024
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


def max_memory_per_child_kib(pool: Pool) -> int | None:
    """Say at what size a process of a pool is replaced after its task.

    A process that once took more than a task of its pool needs keeps much of it, and takes it from the
    pool's other tasks.

    Args:
        pool: A pool with its effective fields.

    Returns:
        The demand of one task in KiB; none where tasks share one process or need no memory to speak of.
    """
    if pool.execution != "prefork" or not pool.demand.memory_mib:
        return None
    return math.ceil(pool.demand.memory_mib * KIB_PER_MIB)


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
    """Read what a host has: its facts, or what the inventory declares until there are any.

    Args:
        raw: None if nothing is known, or a mapping of ``cores`` and ``memory_mib`` (facts), ``limits``
            (the ``cores`` and ``memory_mib`` of a container, each may be none) and ``declared`` (the
            ``cores`` and ``memory_gib`` of ``fleet_hardware``), each of which may be missing or none.
        host: The host's name, for messages.
        findings: Receives what is wrong, and where facts and declaration differ.

    Returns:
        The hardware, or none if it is not known or not legal.
    """
    data = plain(raw)
    if data is None:
        return None
    given = data if isinstance(data, dict) else {}
    stated = given.get("declared")
    declared = _read_declaration(stated, host, findings) if stated is not None else None
    if given.get("cores") is None and given.get("memory_mib") is None and stated is not None:
        return declared
    facts = _figures(given, "cores", "memory_mib")
    if facts is None:
        findings.add(
            "hardware/unreadable",
            "ansible_facts",
            data,
            "cores and memory_mib are not both known as numbers above 0",
            "gather facts from the host (setup) and look at processor_vcpus and memtotal_mb",
            where=host,
        )
        return None
    limits = given.get("limits") or {}
    found = Hardware(facts[0], facts[1], _limit(limits, "cores"), _limit(limits, "memory_mib"))
    if declared:
        _compare_declaration(found, declared, host, findings)
    return found


def _read_declaration(stated: Plain, host: str, findings: Findings) -> Hardware | None:
    figures = _figures(stated, "cores", "memory_gib")
    if figures and len(stated) == 2:
        return Hardware(figures[0], figures[1] * MIB_PER_GIB, declared=True)
    findings.add(
        "hardware/bad-declaration",
        "fleet_hardware",
        stated,
        "is not a mapping of cores and memory_gib, both numbers above 0",
        "write for example {cores: 16, memory_gib: 32}",
        where=host,
    )
    return None


def _compare_declaration(found: Hardware, declared: Hardware, host: str, findings: Findings) -> None:
    """Say where a host is not what the inventory declares; a kernel may keep some of the memory."""
    cores, memory = found.usable_cores, found.usable_memory_mib
    least = declared.memory_mib * (1 - KERNEL_SHARE)
    if cores == declared.cores and least <= memory <= declared.memory_mib * (1 + KERNEL_SHARE):
        return
    findings.add(
        "hardware/differs-from-declaration",
        "fleet_hardware",
        f"{_figure(declared.cores)} cores, {_figure(declared.memory_mib / MIB_PER_GIB)} GiB",
        f"the host itself shows {_figure(cores)} cores and {_figure(memory)} MiB, and is planned with these",
        "correct the declaration or remove it, or give the host what was ordered",
        where=host,
        severity="warning",
    )


def _figures(data: Plain, *keys: str) -> list[Fraction] | None:
    """Give figures above 0 by their names, or none if one of them is not such a figure."""
    values: list[Plain] = [data.get(key) for key in keys] if isinstance(data, dict) else [None]
    legal = all(isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < LARGEST for n in values)
    return [exact(n) for n in values] if legal else None


def _limit(limits: Plain, key: str) -> Fraction | None:
    found = _figures(limits, key)
    return found[0] if found else None


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
        most = math.floor(hardware.usable_cores)
        if pool.kind == "cpu" and found.concurrency > max(most, found.derived):
            findings.add(
                "mistake/more-tasks-than-cores",
                _stated(pool),
                found.concurrency,
                f"pool {name} would run {found.concurrency} tasks at once on "
                f"{_figure(hardware.usable_cores)} cores; {found.derived} fit",
                f"set at most {found.derived}, or null to have it derived",
                where=host,
            )
        elif found.over and not found.short:
            findings.add(
                "sizing/over-budget",
                _stated(pool),
                found.concurrency,
                f"only {found.derived} task(s) of pool {name} fit its budget of "
                f"{_figure(found.budget['cores'])} cores and {_figure(found.budget['memory'])} MiB ({share})",
                f"set at most {found.derived}, or null to have it derived",
                where=host,
            )
    stated = {name: found for name, found in sizes.items() if found.bound_by == "override"}
    needed = {name: found.concurrency * pools[name].demand.memory_mib for name, found in sizes.items()}
    total = sum(needed.values(), Fraction(0))
    if stated and total > hardware.usable_memory_mib:
        name = max(stated, key=lambda name: needed[name])
        findings.add(
            "sizing/over-host",
            _stated(pools[name]),
            stated[name].concurrency,
            f"all tasks of its pools together need {_figure(total)} MiB, "
            f"the host has {_figure(hardware.usable_memory_mib)} MiB",
            where=host,
        )
    return sizes


def _stated(pool: Pool) -> str:
    """Name the variable that states how many tasks of a pool run at once."""
    return pool.variable(*(("autoscale", "max") if pool.autoscale.enabled else ("concurrency",)))


def host_plan(
    raw_model: object,
    host: str,
    groups: object,
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
    planned = plan_host(model, host, groups, host_pools, hardware or {}, nodename, findings)
    findings.refuse()
    if planned is None:
        raise AssertionError("unknown hardware is a finding")
    return planned


def host_plans(raw_model: object, hosts: object) -> list[dict[str, Any]]:
    """Give the plans of all hosts whose hardware is known.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: For each host its ``groups``, ``host_pools``, ``hardware`` and, if known, its ``nodename``.

    Returns:
        What ``host_plan`` gives for each.

    Raises:
        ModelError: If the model is at fault or a pool does not fit its host; with all findings.
    """
    model, findings = read_model(raw_model)
    plans = [
        plan_host(
            model,
            host,
            given["groups"],
            given["host_pools"],
            given["hardware"],
            given.get("nodename") or host,
            findings,
        )
        for host, given in plain(hosts).items()
    ]
    findings.refuse()
    return [planned for planned in plans if planned]


def plan_host(
    model: Model,
    host: str,
    groups: object,
    host_pools: object,
    hardware: object,
    nodename: object,
    findings: Findings,
) -> dict[str, Any] | None:
    """Give the plan of one host of a model that has been read.

    Args:
        model: The fleet.
        host: The host's inventory name.
        groups: The groups that it is in.
        host_pools: What it changes or adds (``fleet_host_pools``).
        hardware: What is known of its hardware, as ``read_hardware`` takes it.
        nodename: The host's part of its node names.
        findings: Receives what is wrong; with an error in it the plan must not be built.

    Returns:
        The plan in plain types, or none if the hardware is not known.
    """
    member = set(texts(groups))
    pools = effective_pools(model, host, member, host_pools, findings)
    found = read_hardware(hardware, host, findings)
    if found is None:
        return None
    sizes = size_host(model, host, pools, found, findings)
    return {
        "host": host,
        "profiles": [name for name in model.profiles if name in member],
        "hardware": {
            "cores": _number(found.usable_cores),
            "memory_mib": _number(found.usable_memory_mib),
            "declared": found.declared,
            "limited": [
                resource
                for resource, usable, shown in (
                    ("cores", found.usable_cores, found.cores),
                    ("memory", found.usable_memory_mib, found.memory_mib),
                )
                if usable < shown
            ],
        },
        "pools": {
            name: {
                **_pool_plan(pools[name], sized, math.ceil(found.cores), show(nodename)),
                "overrides": overrides(model, pools[name], sized),
            }
            for name, sized in sizes.items()
        },
    }


def overrides(model: Model, pool: Pool, sized: Size) -> list[dict[str, Any]]:
    """Say what a pool has on a host instead of what the layers say in which it is defined.

    Args:
        model: The fleet.
        pool: The pool with its effective fields.
        sized: Its size on the host.

    Returns:
        For each field its ``value``, what that ``replaced`` (for a concurrency the derived figure) and
        the variable ``by`` which it did. Values of an environment are left out: they may be secrets.
    """
    stated = ("autoscale", "max") if pool.autoscale.enabled else ("concurrency",)
    found = []
    if sized.bound_by == "override":
        found.append(_override(pool, stated, sized.derived))
    base_layers = BASE if model.layers["fleet_pools"][pool.name] else (*BASE, "fleet_environment_pools")
    layered = [
        path for path, by in pool.origins.items() if by.split(".")[0] not in base_layers and path != stated
    ]
    base = _base(model, pool.name, base_layers) if layered else {}
    for path in layered:
        replaced: Plain = base
        for key in path:
            replaced = replaced.get(key) if isinstance(replaced, dict) else None
        if path[0] == "environment":
            found.append({"field": ".".join(path), "value": None, "replaced": None, "by": _by(pool, path)})
        elif _value(pool, path) != replaced:
            found.append(_override(pool, path, replaced))
    return found


def _base(model: Model, name: str, layers: Iterable[str]) -> dict[str, Any]:
    """Give what the layers that make up a pool say of it."""
    found = [(variable, model.layers[variable]) for variable in layers]
    return merge((v, f if v == "fleet_pool_defaults" else f[name]) for v, f in found)[0]


def _override(pool: Pool, path: tuple[str, ...], replaced: object) -> dict[str, Any]:
    return {
        "field": ".".join(path),
        "value": _value(pool, path),
        "replaced": replaced,
        "by": _by(pool, path),
    }


def _by(pool: Pool, path: tuple[str, ...]) -> str:
    return pool.variable(*path).removesuffix("." + ".".join(path))


def _value(pool: Pool, path: tuple[str, ...]) -> Plain:
    """Give a field of a pool in plain types."""
    held: Plain = pool
    for key in path:
        held = held[key] if isinstance(held, Mapping) else getattr(held, key)
    if isinstance(held, Fraction):
        return _number(held)
    if is_dataclass(held) and not isinstance(held, type):
        return {field.name: _value(pool, (*path, field.name)) for field in fields(held)}
    return {key: _value(pool, (*path, key)) for key in held} if isinstance(held, Mapping) else held


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
        "budget": {"cores": _number(sized.budget["cores"]), "memory_mib": _number(sized.budget["memory"])},
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
        "max_memory_per_child_kib": max_memory_per_child_kib(pool),
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
    return "\n".join(columns(rows))


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


def _figure(value: Fraction) -> str:
    return f"{_number(value):.10g}"
