"""Whether the results of tasks fit the host that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from ..findings import Findings
from ..model.host import Host
from ..model.plain import exact
from ..model.pools import effective_pools
from ..model.spec import is_number
from ..model.types import Model
from ..results import PEAK

# The default of broker_memory_watermark, and the part of a host's memory that its own system needs.
BROKER_MEMORY: Final = Fraction(4, 10)
SYSTEM_MEMORY: Final = Fraction(5, 100)


def check(
    model: Model, groups: Mapping[str, list[str]], hosts: Mapping[str, Host], findings: Findings
) -> None:
    """Find results that do not fit beside the pools and the broker of their host.

    Args:
        model: The fleet.
        groups: The inventory's groups with their hosts.
        hosts: Every host.
        findings: Receives what does not fit.
    """
    if model.results is None:
        return
    for name in groups.get("results", []):
        host = hosts.get(name) or Host(name)
        planned = {"results": PEAK * model.results.memory, "the system": SYSTEM_MEMORY}
        if name in groups.get("workers", []) and effective_pools(model, host, findings.fresh()):
            planned["pools"] = 1 - model.reserve.memory
        if name in groups.get("brokers", []):
            stated = host.broker_memory
            planned["the broker"] = exact(stated) if is_number(stated) else BROKER_MEMORY
        if sum(planned.values()) > 1:
            shares = ", ".join(f"{what} {float(share):.0%}" for what, share in planned.items())
            reason = f"of the host's memory {shares} are planned, together more than there is"
            findings.add(
                "results/no-memory", "fleet_results.memory", float(model.results.memory), reason, where=name
            )
