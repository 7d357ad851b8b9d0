"""The plan of one host: its pools with every figure that a unit, a slice or a broker needs."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, Final

from ..findings import Findings, show
from ..host.names import Node, slice_of, units_of, user_of
from ..model.host import Host, read_host, read_hosts
from ..model.pools import effective_pools
from ..model.read import read_model
from ..model.types import Model, Pool
from .derived import (
    LARGEST_PREFETCH,
    consumer_timeout_s,
    max_memory_per_child_kib,
    pool_fields,
    shutdown_timeout_s,
    stop_timeout_s,
    tasks_max,
)
from .figures import plain_number
from .fits import size_host
from .hardware import read_hardware
from .overrides import overrides
from .sizing import Size

# Linux takes 64 of any sign.
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?")


def host_plan(raw_model: object, host: object) -> dict[str, Any]:
    """Return the plan of one host.

    Args:
        raw_model: The mapping ``fleet_model``.
        host: What ``read_host`` takes.

    Returns:
        The plan in plain types; no pools for a host in no profile.

    Raises:
        ModelError: If the model is at fault, the hardware is not known or a pool does not fit; with all
            findings.
    """
    model, findings = read_model(raw_model)
    host = read_host(host)
    planned = build_plan(model, replace(host, hardware=host.hardware or {}), findings)
    findings.refuse()
    if planned is None:
        raise AssertionError("unknown hardware is a finding")
    return planned


def host_plans(raw_model: object, hosts: object) -> list[dict[str, Any]]:
    """Return the plans of all hosts whose hardware is known.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: What ``read_hosts`` takes.

    Returns:
        What ``host_plan`` returns for each.

    Raises:
        ModelError: If the model is at fault or a pool does not fit its host; with all findings.
    """
    model, findings = read_model(raw_model)
    plans = [build_plan(model, host, findings) for host in read_hosts(hosts).values()]
    findings.refuse()
    return [planned for planned in plans if planned]


def check_hostname(host: Host, findings: Findings) -> None:
    """Find a host's own name, part of its workers' names, that cannot stand in a unit.

    Args:
        host: The host.
        findings: Receives what is wrong.
    """
    name = show(host.nodename or host.name)
    if not _HOSTNAME.fullmatch(name):
        findings.add("inventory/bad-hostname", "ansible_facts.nodename", name, where=host.name)


def build_plan(model: Model, host: Host, findings: Findings) -> dict[str, Any] | None:
    """Return the plan of one host of a model that has been read.

    Args:
        model: The fleet.
        host: The host.
        findings: Receives what is wrong; with an error in it the plan must not be used.

    Returns:
        The plan in plain types, or none if the hardware is not known.
    """
    pools = effective_pools(model, host, findings)
    hardware = read_hardware(host, findings)
    if hardware is None:
        return None
    node = show(host.nodename or host.name)
    check_hostname(host, findings)
    sizes = size_host(model, host.name, pools, hardware, findings)
    return {
        "host": host.name,
        "profiles": [name for name in model.profiles if name in host.groups],
        "hardware": {
            "cores": plain_number(hardware.usable_cores),
            "memory_mib": plain_number(hardware.usable_memory_mib),
            "declared": hardware.declared,
            "limited": [
                resource
                for resource, usable, shown in (
                    ("cores", hardware.usable_cores, hardware.cores),
                    ("memory", hardware.usable_memory_mib, hardware.memory_mib),
                )
                if usable < shown
            ],
        },
        "shutdown_timeout": shutdown_timeout_s(pools.values()),
        "pools": {
            name: {
                **_pool_plan(pools[name], sized, math.ceil(hardware.cores), node),
                "overrides": overrides(model, pools[name], sized),
            }
            for name, sized in sizes.items()
        },
    }


def _pool_plan(pool: Pool, sized: Size, cores: int, nodename: str) -> dict[str, Any]:
    return {
        **pool_fields(pool),
        "share": plain_number(sized.share),
        "budget": {
            "cores": plain_number(sized.budget["cores"]),
            "memory_mib": plain_number(sized.budget["memory"]),
        },
        "concurrency": sized.concurrency,
        "derived": sized.derived,
        "bound_by": sized.bound_by,
        "fits": dict(sized.fits),
        "left": {
            "cores": plain_number(sized.left["cores"]),
            "memory_mib": plain_number(sized.left["memory"]),
        },
        "node": str(Node(pool.name, nodename)),
        "slice": slice_of(pool.name),
        "user": user_of(pool.name),
        "unit": units_of(pool.name),
        "prefetch_count": min(sized.concurrency * pool.prefetch_multiplier, LARGEST_PREFETCH),
        "stop_timeout": stop_timeout_s(pool),
        "consumer_timeout_ms": consumer_timeout_s(pool) * 1000,
        "max_memory_per_child_kib": max_memory_per_child_kib(pool),
        "memory_max_mib": math.floor(sized.budget["memory"]),
        "cpu_weight": min(10000, max(1, round(sized.share * 10000))),
        "tasks_max": tasks_max(sized.concurrency, cores),
    }
