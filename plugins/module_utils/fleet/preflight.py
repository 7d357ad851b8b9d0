"""Everything that must hold before a host is touched, found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .model import Findings, Model, effective_pools, nearest, plain, read_model
from .plan import read_hardware, size_host

BROKERS: Final = "brokers"
WORKERS: Final = "workers"


# Distributions by whether the kit's own tests run on them; a version stands for its point releases too.
SYSTEMS: Final = {
    ("Debian", "12"): True,
    ("Debian", "13"): True,
    ("Ubuntu", "22.04"): False,
    ("Ubuntu", "24.04"): False,
}


def find(raw_model: object, hosts: object, groups: object, allow_untested_os: bool = False) -> Findings:
    """Look at a model and an inventory together.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: For each host its ``groups``, its ``host_pools``, its ``hardware`` (none if its facts are not
            known, which skips sizing) and, if known, its ``nodename``, ``distribution`` and
            ``distribution_version``.
        groups: The inventory's groups with their hosts.
        allow_untested_os: Whether to go on with a distribution that the kit does not know.

    Returns:
        Everything that was found.
    """
    model, findings = read_model(raw_model)
    members = {name: list(_hosts(names)) for name, names in _mapping(plain(groups)).items()}
    every = {name: _mapping(host) for name, host in _mapping(plain(hosts)).items()}
    facts = {name: host for name, host in every.items() if name in members.get(WORKERS, every)}
    _check_groups(model, members, findings)
    for host, given in every.items():
        _check_system(host, given, allow_untested_os, findings)
    running: set[str] = set()
    for host, given in facts.items():
        pools = effective_pools(model, host, _hosts(given.get("groups")), given.get("host_pools"), findings)
        running |= pools.keys()
        hardware = read_hardware(given.get("hardware"), host, findings)
        if hardware:
            size_host(model, host, pools, hardware, findings)
        if not pools:
            findings.add(
                "inventory/idle-worker",
                f"groups.{WORKERS}",
                host,
                "it runs no pool",
                "put it in the group of a profile, name a pool in its fleet_host_pools, or take it out",
                where=host,
                severity="warning",
            )
    _check_nodes(facts, findings)
    for name in model.pools.keys() - running if facts else ():
        findings.add(
            "pool/no-host",
            f"fleet_pools.{name}",
            name,
            "no host runs this pool, so its queues fill until they refuse",
            "put a host in the group of a profile that has this pool, or remove the pool",
            severity="warning",
        )
    return findings


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _hosts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _check_groups(model: Model, groups: Mapping[str, list[str]], findings: Findings) -> None:
    needed = {BROKERS: "the brokers", WORKERS: "every host that runs a pool"}
    for name, holds in needed.items():
        if name not in groups:
            findings.add(
                "inventory/missing-group",
                f"groups.{name}",
                None,
                f"the inventory has no such group{nearest(name, groups)}",
                f"add the group {name}: {holds}",
            )
        elif not groups[name]:
            findings.add(
                "inventory/empty-group",
                f"groups.{name}",
                groups[name],
                "it holds no host",
                f"add to it {holds}",
            )
    if len(groups.get(BROKERS, [])) % 2 == 0 and groups.get(BROKERS):
        findings.add(
            "inventory/even-brokers",
            f"groups.{BROKERS}",
            ", ".join(groups[BROKERS]),
            "an even number of brokers bears no more failures than one fewer",
            "use 1, 3 or 5",
            severity="warning",
        )
    for profile in model.profiles:
        if profile not in groups:
            findings.add(
                "inventory/missing-group",
                f"fleet_profiles.{profile}",
                profile,
                f"the inventory has no group of this name{nearest(profile, groups)}",
                f"add the group {profile} (it may be empty), or remove the profile",
            )
        for host in groups.get(profile, []):
            if WORKERS in groups and host not in groups[WORKERS]:
                findings.add(
                    "inventory/outside-workers",
                    f"groups.{profile}",
                    host,
                    f"it has a profile but is not in the group {WORKERS}, so no play reaches it",
                    f"make {profile} a child of the group {WORKERS}",
                    where=host,
                )


def _check_nodes(hosts: Mapping[str, Mapping[str, Any]], findings: Findings) -> None:
    owners: dict[str, str] = {}
    for host, given in hosts.items():
        name = given.get("nodename")
        if not isinstance(name, str):
            continue
        first = owners.setdefault(name, host)
        if first != host:
            findings.add(
                "inventory/duplicate-node",
                "ansible_facts.nodename",
                name,
                f"host {first} has this name too, so their workers could not be told apart",
                "give each host its own name (hostnamectl set-hostname)",
                where=host,
            )


def _check_system(host: str, given: Mapping[str, Any], allowed: bool, findings: Findings) -> None:
    name, version = given.get("distribution"), given.get("distribution_version")
    if not isinstance(name, str) or not isinstance(version, str):
        return
    tested = [
        state
        for (system, number), state in SYSTEMS.items()
        if name == system and f"{version}.".startswith(f"{number}.")
    ]
    known = ", ".join(" ".join(system) for system in SYSTEMS)
    if tested and not tested[0]:
        findings.add(
            "os/untested",
            "ansible_facts.distribution",
            f"{name} {version}",
            "the same steps should work there, but no test of the kit runs on it",
            "try the fleet on one such host first",
            where=host,
            severity="warning",
        )
    elif not tested:
        findings.add(
            "os/unsupported",
            "ansible_facts.distribution",
            f"{name} {version}",
            f"the kit knows only {known}",
            "use one of these, or set preflight_allow_untested_os: true to go on at your own risk",
            where=host,
            severity="warning" if allowed else "error",
        )
