"""Whether the brokers hold what the model lets wait, let all workers in, and keep their API to themselves."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from ..findings import Findings
from ..host.listeners import LOOPBACK
from ..model.host import Host
from ..model.types import Model
from ..plan.sizing import Size

# The part of a broker's disk that tasks may take; the rest is for what the broker writes beside them, and
# for its free limit, of at most a tenth.
DISK: Final = Fraction(3, 4)
# Connections of a worker beside those of its tasks: to consume, to publish, and for remote control.
MAIN: Final = 10
# A deploy runs two releases side by side.
RELEASES: Final = 2


def check(
    model: Model,
    groups: Mapping[str, list[str]],
    hosts: Mapping[str, Host],
    sizes: Mapping[str, list[Size]],
    findings: Findings,
) -> None:
    """Find brokers with too small a disk or an open API, and pools with more connections than their user may.

    Args:
        model: The fleet.
        groups: The inventory's groups with their hosts.
        hosts: Every host.
        sizes: The sizes of each pool on all of its hosts.
        findings: Receives what does not fit.
    """
    backlog = model.broker.max_backlog_mib
    for name in groups.get("brokers", []):
        address = hosts[name].broker_management_address if name in hosts else None
        if address not in (None, *LOOPBACK) and not model.broker.tls:
            findings.add("broker/plain-management", "broker_management_address", address, where=name)
        disk = hosts[name].broker_disk_mib if name in hosts else None
        if isinstance(disk, int) and backlog > DISK * disk:
            reason = f"its disk has {disk} MiB, of which tasks may take {int(DISK * disk)}"
            findings.add("broker/small-disk", "fleet_broker.max_backlog_mib", backlog, reason, where=name)
    for name, sized in sizes.items():
        needed = RELEASES * sum(each.concurrency + MAIN for each in sized)
        if needed > model.broker.max_connections:
            reason = (
                f"the workers of pool {name} may need {needed}: one for each task, and {MAIN} for each "
                "worker, while two releases run"
            )
            findings.add(
                "broker/few-connections", "fleet_broker.max_connections", model.broker.max_connections, reason
            )
