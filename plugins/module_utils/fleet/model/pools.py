"""The pools of the fleet and of a host, each merged from its layers and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..catalogue import CATALOGUE
from ..findings import Findings, nearest
from .fields import FLEET_WIDE, POOL, POOL_NAME
from .host import Host
from .layers import Layer, Origins, merge, origin_of, variable_of
from .plain import Plain, exact
from .rules import POOL_RULES
from .spec import clean_fields, guarded
from .types import Autoscale, Demand, Model, Pool, Queue
from .variables import taken


def read_pool(name: str, layers: Sequence[Layer], findings: Findings, host: str | None = None) -> Pool | None:
    """Merge the layers of a pool and check the outcome; none if it cannot be built."""
    merged, origins = merge(layers)
    root = next((variable for variable, layer in layers[1:] if layer), f"fleet_pools.{name}")
    faults = 0

    def report(
        id: str,
        path: tuple[str, ...],
        value: object,
        reason: str | None = None,
        remedy: str | None = None,
    ) -> None:
        nonlocal faults
        faults += CATALOGUE[id].structural
        variable = variable_of(origins, root, path)
        where = host if variable.startswith("fleet_host_pools") else None
        findings.add(id, variable, value, reason, remedy, where=where)

    values = clean_fields(merged, POOL, (), report)
    for variable, (reason, remedy) in taken(values.get("environment", {})).items():
        report("app/taken-variable", ("environment", variable), "(not shown)", reason, remedy)
    order = [variable for variable, _ in layers]
    for rule in POOL_RULES:
        try:
            if not rule.broken(values):
                continue
            involved = {at: _at(values, at.split(".")) for at in rule.at}
        except KeyError:
            continue
        blamed = max(involved, key=lambda at: order.index(origin_of(origins, at.split(".")) or order[0]))
        report(rule.id, tuple(blamed.split(".")), involved[blamed])
    return None if faults else _build(name, values, origins)


def _at(values: Plain, path: Iterable[str]) -> Plain:
    for key in path:
        values = values[key]
    return values


def _build(name: str, values: Mapping[str, Any], origins: Origins) -> Pool:
    built = {
        "name": name,
        "origins": origins,
        "queues": {
            queue: Queue(
                queue,
                q["routing_key"],
                q.get("max_length"),
                q.get("overflow", values["overflow"]),
                q.get("max_priority"),
            )
            for queue, q in values["queues"].items()
        },
        "weight": exact(values["weight"]),
        "demand": Demand(**{key: exact(value) for key, value in values["demand"].items()}),
        "autoscale": Autoscale(**values["autoscale"]),
        "environment": {key: str(value) for key, value in values.get("environment", {}).items()},
    }
    if "failure_ratio" in values:
        built["failure_ratio"] = exact(values["failure_ratio"])
    return Pool(**{**values, **built})


def effective_pools(model: Model, host: Host, findings: Findings) -> dict[str, Pool]:
    """Return the pools that a host runs, each with its effective fields.

    Args:
        model: The fleet.
        host: The host.
        findings: Receives what is wrong.

    Returns:
        Pools by name, in the order of the model; those at fault are left out.
    """
    profiles = [name for name in model.profiles if name in host.groups]
    own = host.pools
    fleet_pools = model.layers["fleet_pools"]
    if own is None:
        own = {}
    if not isinstance(own, dict):
        findings.add(
            "model/bad-value",
            "fleet_host_pools",
            guarded(own),
            "is not a mapping",
            "map pools to fields",
            where=host.name,
        )
        own = {}
    own = named_pools(own, "fleet_host_pools", findings, fleet_pools, host.name)
    pools = {}
    for name in fleet_pools:
        layers = [
            (f"fleet_profiles.{profile}.pools.{name}", model.profiles[profile][name])
            for profile in profiles
            if name in model.profiles[profile]
        ]
        if name in own:
            layers.append((f"fleet_host_pools.{name}", own[name]))
        for variable, layer in layers:
            for field_name in FLEET_WIDE:
                if field_name in layer:
                    findings.add(
                        "model/fleet-wide-field",
                        f"{variable}.{field_name}",
                        layer[field_name],
                        "the broker has it once for the whole fleet, so no profile or host can differ",
                        "set it in fleet_pools or fleet_environment_pools",
                        where=host.name if variable.startswith("fleet_host_pools") else None,
                    )
        if layers:
            narrow = [(v, {k: x for k, x in layer.items() if k not in FLEET_WIDE}) for v, layer in layers]
            pool = read_pool(name, [*fleet_layers(model.layers, name), *narrow], findings, host.name)
            if pool:
                pools[name] = pool
    return pools


def merged_fleet_pools(
    pools: Mapping[str, Any], tuned: Mapping[str, Any], environment: Mapping[str, Any], findings: Findings
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the pools' fields by their layers; an entry of the environment with queues is a new pool."""
    added = {
        name: fields
        for name, fields in environment.items()
        if name not in pools and isinstance(fields, dict) and "queues" in fields
    }
    variable = "fleet_environment_pools"
    new = named_pools(added, variable, findings)
    changed = {name: fields for name, fields in environment.items() if name not in added}
    return {
        "fleet_pools": {**named_pools(pools, "fleet_pools", findings), **{name: {} for name in new}},
        "fleet_tuned_pools": named_pools(tuned, "fleet_tuned_pools", findings, {**pools, **new}),
        variable: {**named_pools(changed, variable, findings, pools), **new},
    }


def fleet_layers(layers: Mapping[str, Mapping[str, Any]], name: str) -> list[Layer]:
    """Return the layers of a pool of the whole fleet, lowest first."""
    return [
        ("fleet_pool_defaults", layers["fleet_pool_defaults"]),
        (f"fleet_pools.{name}", layers["fleet_pools"].get(name, {})),
        # Below whatever a person writes for an environment, a profile or a host.
        (f"fleet_tuned_pools.{name}", layers["fleet_tuned_pools"].get(name, {})),
        (f"fleet_environment_pools.{name}", layers["fleet_environment_pools"].get(name, {})),
    ]


def named_pools(
    pools: Mapping[str, Any],
    variable: str,
    findings: Findings,
    known: Mapping[str, Any] | None = None,
    host: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return those entries that name a pool and hold a mapping of fields."""
    named: dict[str, dict[str, Any]] = {}
    for name, fields in pools.items():
        here = f"{variable}.{name}"
        if known is None and not POOL_NAME.test(name):
            findings.add(POOL_NAME.bad, here, name, f"is not {POOL_NAME.legal}", "rename the pool")
        elif known is not None and name not in known:
            _unknown_pool(findings, here, name, known, host)
        elif fields is None:
            named[name] = {}
        elif not isinstance(fields, dict):
            findings.add(
                "model/bad-value",
                here,
                guarded(fields),
                "is not a mapping of fields",
                "map fields to values",
                where=host,
            )
        else:
            named[name] = fields
    return named


def _unknown_pool(
    findings: Findings, variable: str, name: str, known: Iterable[str], host: str | None = None
) -> None:
    layer = {"fleet_profiles": "profile", "fleet_host_pools": "host", "fleet_tuned_pools": "tuned"}.get(
        variable.split(".")[0], "environment"
    )
    findings.add(
        f"{layer}/unknown-pool",
        variable,
        name,
        f"there is no such pool{nearest(name, known)}",
        "name one of: "
        + (", ".join(known) or "(no pool is defined)")
        + ("; one that also gives its queues is a new pool" if layer == "environment" else ""),
        where=host,
    )
