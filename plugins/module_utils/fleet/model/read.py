"""The fleet's model: read from plain data, with every fault found and none raised.

What a site writes (pools, profiles, routing, broker, app) comes in as nested mappings of any origin. It
leaves as frozen dataclasses, or as a list of findings that name variable, value, place and remedy. Units
are seconds, MiB and cores unless a name says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..catalogue import CATALOGUE
from ..findings import Findings, line, nearest
from ..host.names import FLEET
from .application import check_application
from .commands import check_hooks
from .fields import APP, BROKER, FLEET_NAME, FLOWER, MONITORING, RESERVE, RESULTS, ROUTING, SCHEDULE
from .host import Host
from .layers import Origins, merge
from .plain import Plain, exact, plain
from .pools import effective_pools, fleet_layers, merged_fleet_pools, named_pools, read_pool
from .rules import (
    Claim,
    check_broker,
    check_calls,
    check_claims,
    check_one_concurrency,
    check_routing,
    claims_of,
)
from .spec import Spec, check_names, clean, clean_fields, guarded, map_of, reporter, table_of
from .types import Broker, Flower, Model, Monitoring, Reserve, Results
from .variables import taken

_OPTIONAL: Final = (
    "tuned_pools",
    "environment_pools",
    "environment_routing",
    "schedule",
    "results",
    "monitoring",
    "flower",
)


def read_model(raw: object) -> tuple[Model, Findings]:
    """Read a whole fleet from plain data.

    Args:
        raw: The mapping ``fleet_model`` of the inventory, of any mapping and string types.

    Returns:
        The model, without what is at fault, and everything that was found.
    """
    findings = Findings()
    data = plain(raw)
    parts = (
        "pool_defaults",
        "pools",
        "tuned_pools",
        "environment_pools",
        "profiles",
        "reserve",
        "routing",
        "environment_routing",
        "broker",
        "app",
        "schedule",
        "results",
        "monitoring",
        "flower",
    )
    mapping = Spec("a mapping", lambda v: isinstance(v, dict), {"type": "object"})
    if not isinstance(data, dict):
        findings.add("model/bad-value", "fleet_model", guarded(data), "is not a mapping", "give a mapping")
        data = {}
    for key in data.keys() - {*parts, "accepted", "name"}:
        reason = f"is no part of the model{nearest(key, parts)}"
        findings.add(
            "model/unknown-key", f"fleet_model.{key}", guarded(data[key], text=False), reason, "remove it"
        )
    for name in data.keys() & {*parts}:
        check_names(data[name], f"fleet_{name}", findings)
    part: dict[str, dict[str, Any]] = {}
    findings.accept(_read_accepted(data.get("accepted"), findings))
    for name in parts:
        variable = f"fleet_{name}"
        value = data.get(name, {} if name in _OPTIONAL else None)
        cleaned = clean(value, mapping, (), reporter(findings, variable))
        part[name] = cleaned if isinstance(cleaned, dict) else {}

    named = clean(data.get("name", FLEET), FLEET_NAME, (), reporter(findings, "fleet_name"))
    fleet = named if isinstance(named, str) else FLEET

    layers = merged_fleet_pools(part["pools"], part["tuned_pools"], part["environment_pools"], findings)
    layers["fleet_pool_defaults"] = part["pool_defaults"]
    if not layers["fleet_pools"]:
        findings.add(
            "pool/none", "fleet_pools", part["pools"], "there is no pool", "define at least one pool"
        )
    pools = {name: read_pool(name, fleet_layers(layers, name), findings) for name in layers["fleet_pools"]}
    claims = {name: merge(fleet_layers(layers, name)) for name in layers["fleet_pools"]}
    check_claims(claims, findings)
    check_one_concurrency(claims, findings)
    check_calls(claims, findings)

    profiles = _read_profiles(part["profiles"], layers["fleet_pools"], findings)
    reserve = clean_fields(part["reserve"], RESERVE, (), reporter(findings, "fleet_reserve"))
    routing = _read_routing(part["routing"], part["environment_routing"], claims, findings)
    broker = clean_fields(part["broker"], BROKER, (), reporter(findings, "fleet_broker"))
    check_broker(broker, findings)
    app = clean_fields(part["app"], APP, (), reporter(findings, "fleet_app"))
    _check_url(app.get("source"), findings)
    if app.get("autoconfigure") is True and ":" not in app.get("celery_app", ":"):
        findings.add("app/no-named-app", "fleet_app.celery_app", app["celery_app"])
    for name, (reason, remedy) in taken(app.get("environment", {})).items():
        findings.add(
            "app/taken-variable",
            f"fleet_app.environment.{name}",
            "(not shown)",
            reason,
            remedy,
            where="fleet_app_environment in the environment's group_vars, or group_vars/all/app.yml",
        )
    check_hooks(app, findings)
    check_application(app, layers["fleet_pools"], reporter(findings, "fleet_app"))
    schedule = _read_schedule(part["schedule"], claims_of(claims), findings)
    model = Model(
        layers=layers,
        pools={name: pool for name, pool in pools.items() if pool},
        profiles=profiles,
        reserve=Reserve(exact(reserve.get("cores", 0)), exact(reserve.get("memory", 0))),
        routing=routing,
        broker=Broker(
            broker.get("vhost", "/"),
            broker.get("port", 5672),
            broker.get("management_port", 15672),
            broker.get("nodes", []),
            broker.get("tls", False),
            broker.get("client_control", False),
            broker.get("max_message_mib", Broker.max_message_mib),
            broker.get("max_backlog_mib", Broker.max_backlog_mib),
            broker.get("max_connections", Broker.max_connections),
            broker.get("managed", True),
            broker.get("api", ""),
            broker.get("administrator", ""),
            broker.get("user_prefix", "" if broker.get("managed", True) else user_prefix(fleet)),
            broker.get("ca", ""),
        ),
        app=app,
        schedule=schedule,
        results=_read_results(part["results"], findings),
        monitoring=_read_monitoring(part["monitoring"], findings),
        flower=Flower(**clean_fields(part["flower"], FLOWER, (), reporter(findings, "fleet_flower"))),
        name=fleet,
    )
    for profile in profiles:
        effective_pools(model, Host(f"profile {profile}", [profile]), findings)
    return model, findings


def user_prefix(fleet: str) -> str:
    """Return what the names of a fleet's users begin with at a broker that others use, too.

    Args:
        fleet: Name of the fleet.
    """
    return "" if fleet == FLEET else f"{fleet}_"


def _check_url(source: object, findings: Findings) -> None:
    """Find a password in the URL of a repository, and do not show it."""
    url = source.get("url") if isinstance(source, dict) else None
    if not isinstance(url, str):
        return
    # A token may stand in the place of the user.
    shown = re.sub(r"(?<=//)([^/@:]*:[^/@]*|[^/@:]{20,})@", "(not shown)@", url)
    if shown != url:
        findings.add("source/password-in-url", "fleet_app.source.url", shown)


def _read_accepted(raw: Plain, findings: Findings) -> dict[str, str]:
    """Return the site's reasons by accepted finding, without illegal entries."""
    variable = "fleet_accepted_findings"
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        findings.add("model/bad-value", variable, raw, "is not a mapping of findings to reasons")
        return {}
    accepted = {}
    for key, reason in raw.items():
        here, id = f"{variable}.{key}", key.partition("@")[0]
        if id not in CATALOGUE:
            findings.add("accept/unknown", here, key, f"there is no such finding{nearest(id, CATALOGUE)}")
        elif CATALOGUE[id].structural:
            findings.add("accept/impossible", here, key)
        elif not isinstance(reason, str) or not reason.strip():
            findings.add("accept/no-reason", here, reason)
        else:
            accepted[key] = line(reason.strip())
    return accepted


def _read_profiles(
    raw: Mapping[str, Any], known: Mapping[str, Any], findings: Findings
) -> dict[str, dict[str, dict[str, Any]]]:
    profiles = {}
    spec = table_of(
        {"pools": map_of(Spec("fields", lambda v: True, {}, nullable=True), "a mapping of pools")}
    )
    for name, profile in raw.items():
        variable = f"fleet_profiles.{name}"
        cleaned = clean(profile, spec, (), reporter(findings, variable))
        pools = cleaned.get("pools", {}) if isinstance(cleaned, dict) else {}
        profiles[name] = named_pools(pools, f"{variable}.pools", findings, known)
    return profiles


def _read_routing(
    whole: Mapping[str, Any],
    environment: Mapping[str, Any],
    pools: Mapping[str, tuple[dict[str, Any], Origins]],
    findings: Findings,
) -> dict[str, Any]:
    """Merge the rules with the fields that an environment changes, and check the outcome."""
    merged, origins = merge((("fleet_routing", whole), ("fleet_environment_routing", environment)))
    report = reporter(findings, "fleet_routing", origins)
    routing = clean_fields(merged, ROUTING, (), report)
    check_routing(routing, pools, report)
    return routing


def _read_results(raw: Mapping[str, Any], findings: Findings) -> Results | None:
    """Return where results are kept, none if the fleet keeps none."""
    if not raw:
        return None
    fields = clean_fields(raw, RESULTS, (), reporter(findings, "fleet_results"))
    nodes = fields.get("nodes", [])
    if len(nodes) > 1:
        findings.add("results/several-hosts", "fleet_results.nodes", ", ".join(nodes))
    if not nodes:
        return None
    return Results(
        nodes[0], fields.get("port", 6390), exact(fields.get("memory", 0)), fields.get("tls", False)
    )


def _read_monitoring(raw: Mapping[str, Any], findings: Findings) -> Monitoring:
    """Return what is kept of the fleet's figures, and check that whoever is told is there."""
    if not raw:
        return Model.monitoring
    default = Model.monitoring
    fields = clean_fields(raw, MONITORING, (), reporter(findings, "fleet_monitoring"))
    receivers, routes = fields.get("receivers", {}), fields.get("routes", {})
    written = raw.get("receivers")
    known = written if isinstance(written, dict) else {}
    for severity, names in routes.items():
        for name in names:
            if name not in known:
                findings.add(
                    "monitoring/unknown-receiver",
                    f"fleet_monitoring.routes.{severity}",
                    name,
                    f"there is no such receiver{nearest(name, known)}",
                    "name one of: " + (", ".join(known) or "(fleet_monitoring.receivers has none)"),
                )
    return Monitoring(
        fields.get("scrape", default.scrape),
        fields.get("retention_days", default.retention_days),
        fields.get("size_mib", default.size_mib),
        exact(fields.get("patience", 1)),
        receivers,
        routes,
    )


def _read_schedule(
    raw: Mapping[str, Any], claims: Iterable[Claim], findings: Findings
) -> dict[str, dict[str, Any]]:
    """Return the entries of the schedule, and report those that can't be sent."""
    queues = {claim.queue for claim in claims}
    entries: dict[str, dict[str, Any]] = clean(raw, SCHEDULE, (), reporter(findings, "fleet_schedule"))
    for name, fields in entries.items():
        here = f"fleet_schedule.{name}"
        times = [key for key in ("every", "crontab") if raw[name].get(key) is not None]
        if len(times) != 1:
            findings.add(
                "schedule/when", here, ", ".join(times) or None, f"it has {' and '.join(times) or 'neither'}"
            )
        queue = fields.get("queue")
        if queue is not None and queue not in queues:
            findings.add(
                "routing/unknown-queue",
                f"{here}.queue",
                queue,
                f"no pool has this queue{nearest(queue, queues)}",
                "name one of: " + (", ".join(sorted(queues)) or "(no queue is defined)") + "; or none",
            )
    return entries
