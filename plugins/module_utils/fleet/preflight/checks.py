"""Everything that must hold before a host is touched, found at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..broker.delays import has_delays
from ..findings import Findings, nearest, show
from ..kit import is_older
from ..model.host import Host, read_hosts
from ..model.plain import plain, texts
from ..model.pools import effective_pools
from ..model.read import read_model
from ..model.spec import check_names
from ..model.types import Model, Pool
from ..plan.derived import CONSUMER_MARGIN_S, consumer_timeout_s
from ..plan.fits import size_host
from ..plan.hardware import read_hardware
from ..plan.host import check_hostname
from ..plan.sizing import Size
from . import brokers, clients, controller, environments, fleets, python, results, unread, versions
from . import certificates as ending

BROKERS: Final = "brokers"
OLD_BROKERS: Final = "old_brokers"
WORKERS: Final = "workers"
CLIENTS: Final = "clients"
MONITORING: Final = "monitoring"
# Members of a quorum queue beyond which a write waits for too many.
MOST_BROKERS: Final = 7
DAY_S: Final = 24 * 3600
# The default of worker_open_files.
OPEN_FILES: Final = 65536
# Files and sockets of a worker's main process; and what each task adds to it: to prefork's the pipes of a
# child, to that of threads and gevent the connections of the task itself.
FILES_MAIN: Final = 64
FILES_CHILD: Final = 8
FILES_TASK: Final = 16
# Distributions by whether the kit's own tests run on them; a version stands for its point releases too.
SYSTEMS: Final = {
    ("Debian", "12"): True,
    ("Debian", "13"): True,
    ("Ubuntu", "22.04"): False,
    ("Ubuntu", "24.04"): False,
}


def find(
    raw_model: object,
    hosts: object,
    groups: object,
    allow_untested_os: bool = False,
    *,
    contacted: bool = False,
    application: object = None,
    variables: object = None,
    certificates: object = None,
    kit_certificates: bool = True,
    kit: str = "",
    precedence: Sequence[str] | None = None,
    config: str | None = None,
) -> Findings:
    """Check a model and an inventory together.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: Every host, as ``read_hosts`` takes them; without facts its sizing is skipped.
        groups: The inventory's groups with their hosts.
        allow_untested_os: Whether to go on with a distribution that the kit does not know.
        contacted: Whether every host of the inventory was asked for its facts.
        application: The ``findings`` of its source and lock, and the ``versions`` of its libraries; empty if
            they were not read.
        variables: What ``unread.unread`` returned; none if it was not read.
        certificates: What ``certificates.ends`` returned; none without encrypted connections.
        kit_certificates: Whether the kit makes them.
        kit: The version of this kit; empty if it is not compared with those of the hosts.
        precedence: Ansible's setting of this name; none if it is not looked at.
        config: The file from which Ansible has its settings.

    Returns:
        Everything that was found; what is wrong with Ansible's settings alone, for by them nothing was read
        as it is written.
    """
    settings = Findings()
    if precedence is not None:
        controller.check(precedence, config, settings)
    if settings.errors:
        return settings
    model, findings = read_model(raw_model)
    members = {name: texts(names) for name, names in _mapping(plain(groups)).items()}
    all_hosts = read_hosts(hosts)
    facts = {name: host for name, host in all_hosts.items() if name in members.get(WORKERS, all_hosts)}
    _check_groups(model, members, findings)
    _check_release_host(model, members, findings)
    for host in all_hosts.values():
        _check_system(host, allow_untested_os, findings)
        _check_origin(host, findings)
        _check_kit(host, kit, findings)
        check_hostname(host, findings)
        check_names(host.pools, "fleet_host_pools", findings, host.name)
    fleets.check(model.name, {name: host.fleets for name, host in all_hosts.items()}, members, findings)
    if contacted:
        _check_reached(members, all_hosts, findings)
    clients.check([all_hosts[name] for name in members.get(CLIENTS, ()) if name in all_hosts], findings)
    about = _mapping(plain(application))
    for told in about.get("findings") or ():
        findings.add(
            told["id"], told["variable"], told["value"], told["reason"], told["remedy"], where=told["where"]
        )
    members_with_app = {*members.get(WORKERS, ()), *members.get(CLIENTS, ())}
    with_app = [host for name, host in all_hosts.items() if name in members_with_app]
    python.check(model.app.get("python", {}), str(about.get("requires_python") or ""), with_app, findings)
    _check_versions(model, about, members, all_hosts, findings)
    results.check(model, members, all_hosts, findings)
    _check_monitoring(model, members, kit_certificates, findings)
    unread.check(_mapping(plain(variables)), len(all_hosts), findings)
    ending.check(certificates if isinstance(certificates, list) else [], kit_certificates, findings)
    environments.check_application(model, findings)
    for pool in model.pools.values():
        _check_waits(model, pool, None, findings)
        environments.check_pool(model, pool, None, findings)
    sized_pools: dict[str, list[Size]] = {}
    running: set[str] = set()
    for host in facts.values():
        pools = effective_pools(model, host, findings)
        running |= pools.keys()
        hardware = read_hardware(host, findings)
        sizes = size_host(model, host.name, pools, hardware, findings) if hardware else {}
        for name, pool in pools.items():
            _check_waits(model, pool, host.name, findings)
            environments.check_pool(model, pool, host.name, findings)
            if name in sizes:
                sized_pools.setdefault(name, []).append(sizes[name])
                _check_files(pool, sizes[name], host, findings)
        if not pools:
            findings.add("inventory/idle-worker", f"groups.{WORKERS}", host.name, where=host.name)
    brokers.check(model, members, all_hosts, sized_pools, findings)
    _check_nodes(facts, findings)
    _check_broker_names(members, all_hosts, findings)
    for name, pool in model.pools.items():
        if facts and name not in running:
            findings.add(
                "queue/no-consumer",
                pool.variable("queues"),
                ", ".join(pool.queues),
                f"no host runs pool {name}, so tasks wait in its queues until these refuse more",
            )
    if contacted:
        for key in findings.unused:
            findings.add("accept/unused", f"fleet_accepted_findings.{key}", key)
    return findings


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_monitoring(
    model: Model, groups: Mapping[str, list[str]], kit_certificates: bool, findings: Findings
) -> None:
    if not groups.get(MONITORING):
        return
    told = [severity for severity in ("critical", "warning") if model.monitoring.routes.get(severity)]
    if len(told) < 2:
        findings.add("monitoring/no-receiver", "fleet_monitoring.routes", ", ".join(told) or "(none)")
    if not kit_certificates:
        findings.add("monitoring/plain-metrics", "fleet_tls_certificates", "own")


def _check_groups(model: Model, groups: Mapping[str, list[str]], findings: Findings) -> None:
    needed = {WORKERS: "every host that runs a pool"}
    if model.broker.managed:
        needed = {BROKERS: "the brokers", **needed}
    elif groups.get(BROKERS):
        reason = f"the group {BROKERS} has hosts, and fleet_broker.managed is false"
        findings.add("broker/contradiction", f"groups.{BROKERS}", ", ".join(groups[BROKERS]), reason)
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
        )
    if len(groups.get(BROKERS, [])) > MOST_BROKERS:
        findings.add("inventory/many-brokers", f"groups.{BROKERS}", len(groups[BROKERS]))
    if groups.get(OLD_BROKERS):
        findings.add("inventory/old-brokers", f"groups.{OLD_BROKERS}", ", ".join(groups[OLD_BROKERS]))
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


def _check_release_host(model: Model, groups: Mapping[str, list[str]], findings: Findings) -> None:
    host = model.app.get("release_host")
    hosts = [*groups.get(WORKERS, []), *groups.get(CLIENTS, [])]
    if host is not None and host not in hosts:
        reason = f"neither {WORKERS} nor {CLIENTS} has this host{nearest(host, hosts)}"
        findings.add("app/unknown-host", "fleet_app.release_host", host, reason)


def _check_nodes(hosts: Mapping[str, Host], findings: Findings) -> None:
    owners: dict[str, str] = {}
    for host, details in hosts.items():
        name = details.nodename
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


def _check_broker_names(
    groups: Mapping[str, list[str]], hosts: Mapping[str, Host], findings: Findings
) -> None:
    """Find brokers of one name: a node is called after its host, without the domain."""
    owners: dict[str, str] = {}
    for host in groups.get(BROKERS, []):
        name = hosts[host].nodename if host in hosts else None
        if not isinstance(name, str):
            continue
        short = name.partition(".")[0]
        first = owners.setdefault(short, host)
        if first != host:
            text = f"its node would be rabbit@{short}, as that of host {first} is"
            findings.add("inventory/duplicate-broker", "ansible_facts.nodename", name, text, where=host)


def _check_system(host: Host, allowed: bool, findings: Findings) -> None:
    name, version = host.distribution, host.distribution_version
    if not isinstance(name, str) or not isinstance(version, str):
        return
    tested = [
        state
        for (system, number), state in SYSTEMS.items()
        if name == system and f"{version}.".startswith(f"{number}.")
    ]
    supported = ", ".join(" ".join(system) for system in SYSTEMS)
    if tested and not tested[0]:
        findings.add(
            "os/untested",
            "ansible_facts.distribution",
            f"{name} {version}",
            where=host.name,
        )
    elif not tested:
        findings.add(
            "os/unsupported",
            "ansible_facts.distribution",
            f"{name} {version}",
            f"the kit knows only {supported}",
            "use one of these, or set preflight_allow_untested_os: true to go on at your own risk",
            where=host.name,
            severity="warning" if allowed else "error",
        )


def _check_kit(host: Host, kit: str, findings: Findings) -> None:
    if isinstance(host.kit, str) and is_older(kit, host.kit):
        reason = f"the host was last changed by this version, and this kit is {kit}"
        findings.add("versions/older-kit", "ansible_facts.fleet_kit", host.kit, reason, where=host.name)


def _check_origin(host: Host, findings: Findings) -> None:
    for name in host.differs:
        findings.add(
            "inventory/another-model",
            name,
            "(of this host)",
            f"it is not the {name} of the fleet",
            where=host.name,
        )


def _check_reached(groups: Mapping[str, list[str]], hosts: Mapping[str, Host], findings: Findings) -> None:
    for name in (BROKERS, WORKERS, CLIENTS):
        for host in groups.get(name, []):
            details = hosts.get(host) or Host(host)
            declared = _mapping(details.hardware).get("declared") is not None
            if not details.gathered and not declared:
                findings.add("inventory/unreachable", f"groups.{name}", host, where=host)


def _check_versions(
    model: Model,
    about: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    hosts: Mapping[str, Host],
    findings: Findings,
) -> None:
    packages: dict[str, str | None] = {}
    for host in groups.get(BROKERS, []):
        details = hosts.get(host) or Host(host)
        package, source = _mapping(details.broker_package), _mapping(details.broker_source)
        here = package.get("installed") or source.get("version") or package.get("candidate")
        if details.broker_version is not None or here:
            packages[host] = show(here if details.broker_version is None else details.broker_version)
        elif details.distribution is not None:
            packages[host] = versions.packaged(details.distribution, details.distribution_version)
        versions.check_candidate(package, host, findings)
    pinned = _mapping(about.get("versions"))
    libraries = {name: show(version) for name, version in pinned.items()}
    lock = show(model.app.get("requirements"))
    versions.check(model, libraries if libraries or about.get("release") else None, lock, packages, findings)


def _check_waits(model: Model, pool: Pool, host: str | None, findings: Findings) -> None:
    """Find tasks that wait longer in a worker than the broker, or anyone, should wait for them."""

    def add(id: str, field: str, value: object, reason: str) -> None:
        variable = pool.variable(field)
        where = host if variable.startswith("fleet_host_pools") else None
        findings.add(id, variable, value, reason, where=where)

    timeout = consumer_timeout_s(pool)
    window = timeout - CONSUMER_MARGIN_S
    if window > max(DAY_S, pool.time_limit):
        text = f"the last task of a full prefetch window of pool {pool.name} may wait {window} seconds"
        add("limits/long-window", "prefetch_multiplier", pool.prefetch_multiplier, text)
    direct = pool.exchange_type != "topic"
    if not direct and has_delays(model.pools.values()):
        return
    if pool.eta_horizon is None:
        field, value = ("exchange_type", pool.exchange_type) if direct else ("queue_type", pool.queue_type)
        text = (
            f"delayed tasks of pool {pool.name} wait in its workers, which a delay of {timeout} seconds ends"
        )
        add("delays/held-by-worker", field, value, text)
    elif pool.eta_horizon > window:
        text = f"the broker waits {timeout} seconds for a task of pool {pool.name}, its delays may be longer"
        add("delays/beyond-timeout", "eta_horizon", pool.eta_horizon, text)


def _check_files(pool: Pool, sized: Size, host: Host, findings: Findings) -> None:
    per_task = FILES_CHILD if pool.execution == "prefork" else FILES_TASK
    needed = FILES_MAIN + sized.concurrency * per_task
    limit = host.open_files
    open_files = limit if isinstance(limit, int) and not isinstance(limit, bool) else OPEN_FILES
    if needed > open_files:
        findings.add(
            "sizing/open-files",
            "worker_open_files",
            open_files,
            f"the worker of pool {pool.name} needs {needed} open files for {sized.concurrency} tasks at once "
            f"({FILES_MAIN}, and {per_task} for each task)",
            where=host.name,
        )
