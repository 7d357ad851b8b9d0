"""Whether hosts carry another fleet than the site's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ..findings import Findings
from ..host.marks import BROKERS, RESULTS, WORKERS

# By the part of a fleet that a host may carry: the groups whose hosts the kit would change, and what it is
# called.
GROUPS: Final = {
    WORKERS: (("workers", "clients", "schedulers"), "workers, clients or the scheduler"),
    BROKERS: (("brokers",), "a broker"),
    RESULTS: (("results",), "the server of results"),
}


def check(
    fleet: str,
    carried: Mapping[str, object],
    groups: Mapping[str, Collection[str]],
    findings: Findings,
) -> None:
    """Find hosts that carry another fleet, in the part that this site's fleet would have there.

    Args:
        fleet: Name of the site's fleet.
        carried: By host what ``marks.carried`` returned; anything else if it was not read.
        groups: The inventory's groups with their hosts.
        findings: Receives what does not fit.
    """
    for host, parts in carried.items():
        for part, name in parts.items() if isinstance(parts, dict) else ():
            members, called = GROUPS[part]
            if name != fleet and any(host in groups.get(group, ()) for group in members):
                reason = f"the host has {called} of the fleet {name}, and this is a site of the fleet {fleet}"
                findings.add("inventory/another-fleet", "fleet_name", fleet, reason, where=host)
