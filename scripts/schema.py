"""The model as JSON Schema, from the table of its fields: an editor completes and checks a file by it.

A layer may leave out what another one gives, and a value may be a template; neither is refused. Relations
between fields and between variables are left to the kit's own check.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fleet.catalogue import CATALOGUE
from fleet.model.fields import (
    APP,
    BROKER,
    CLIENT_USERS,
    FLEET_NAME,
    FLOWER,
    MONITORING,
    POOL,
    POOL_NAME,
    RESERVE,
    RESULTS,
    ROUTING,
    SCHEDULE,
)
from fleet.model.spec import Spec
from variables import VARIABLES

Schema = dict[str, Any]

TEMPLATE: Final = {"$ref": "#/definitions/template"}
MAPPING: Final = {"type": "object"}


def text(raw: Mapping[str, Any]) -> str:
    """Write the schema.

    Args:
        raw: The repository's own model, whose values are the defaults.
    """
    return json.dumps(schema(raw), indent=1) + "\n"


def schema(raw: Mapping[str, Any]) -> Schema:
    """Return the schema of a file of variables.

    Args:
        raw: The repository's own model, whose values are the defaults.
    """
    everywhere = {name: spec for name, spec in POOL.items() if not spec.fleet_wide}
    variables: dict[str, Schema] = {
        "fleet_name": of(FLEET_NAME),
        "fleet_pool_defaults": {"$ref": "#/definitions/pool"},
        "fleet_pools": _pools("pool"),
        "fleet_tuned_pools": _pools("pool"),
        "fleet_environment_pools": _pools("pool"),
        "fleet_profiles": _map(_table({"pools": _or_template(_pools("pool_of_some_hosts"))}, ["pools"])),
        "fleet_host_pools": _pools("pool_of_some_hosts"),
        "fleet_scale": _pools("pool_of_some_hosts"),
        "fleet_accepted_findings": _accepted(),
        "fleet_reserve": _fields(RESERVE, raw["reserve"]),
        "fleet_routing": _fields(ROUTING, raw["routing"]),
        "fleet_environment_routing": _layer(ROUTING, {}),
        "fleet_broker": _fields(BROKER, raw["broker"]),
        "fleet_results": _fields(RESULTS, raw["results"]),
        "fleet_app": _fields(APP, raw["app"]),
        "fleet_monitoring": _fields(MONITORING, raw["monitoring"]),
        "fleet_flower": _fields(FLOWER, raw["flower"]),
        "fleet_app_defaults": _layer(APP, {}),
        "fleet_client_users": of(CLIENT_USERS),
        "fleet_schedule": of(SCHEDULE),
        "fleet_app_environment": of(APP["environment"]),
        "fleet_app_secrets": of(APP["secrets"]),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Variables of a fleet",
        "type": ["object", "null"],
        "properties": {
            name: {"description": about.meaning, **_or_template(variables.get(name, {}))}
            for name, about in VARIABLES.items()
        },
        "definitions": {
            "template": {"type": "string", "pattern": r"\{\{|\{%"},
            "pool": _layer(POOL, raw["pool_defaults"]),
            "pool_of_some_hosts": _layer(everywhere, {}),
        },
    }


def of(spec: Spec, default: object = None, *, partial: bool = False) -> Schema:
    """Return the schema of a value.

    Args:
        spec: What it may be.
        default: What it is if it is not given.
        partial: Whether another layer may give what is missing in it.
    """
    legal: Schema = dict(spec.schema)
    if spec.fields is not None:
        required = [] if partial else [name for name, inner in spec.fields.items() if inner.required]
        legal = _table({name: of(inner, partial=partial) for name, inner in spec.fields.items()}, required)
    if spec.short and spec.fields is not None:
        legal = {"anyOf": [dict(spec.fields[spec.short].schema), legal]}
    if spec.variants is not None:
        unknown = {**MAPPING, "properties": {"type": TEMPLATE}, "required": ["type"]}
        legal = {"anyOf": [*(_variant(kind, fields) for kind, fields in spec.variants.items()), unknown]}
    if spec.each is not None:
        each = of(spec.each, partial=partial)
        legal["items" if legal["type"] == "array" else "additionalProperties"] = each
    if spec.names is not None:
        legal["propertyNames"] = dict(spec.names.schema)
    schema_of_value = _or_template(legal, nullable=spec.nullable)
    if spec.meaning:
        schema_of_value = {"description": f"{spec.meaning}\n\nLegal: {spec.legal}.", **schema_of_value}
    return (
        schema_of_value
        if default is None or isinstance(default, Mapping)
        else {**schema_of_value, "default": default}
    )


def _or_template(legal: Schema, *, nullable: bool = False) -> Schema:
    if not legal:
        return {}
    return {"anyOf": [legal, *([{"type": "null"}] if nullable else []), TEMPLATE]}


def _fields(fields: Mapping[str, Spec], values: Mapping[str, Any]) -> Schema:
    properties = {name: of(spec, values.get(name)) for name, spec in fields.items()}
    return _table(properties, [name for name, spec in fields.items() if spec.required])


def _layer(fields: Mapping[str, Spec], values: Mapping[str, Any]) -> Schema:
    return _table({name: of(spec, values.get(name), partial=True) for name, spec in fields.items()}, [])


def _table(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {
        **MAPPING,
        "properties": dict(properties),
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _variant(kind: str, fields: Mapping[str, Spec]) -> Schema:
    required = ["type", *(name for name, spec in fields.items() if spec.required)]
    return _table({"type": {"const": kind}, **{name: of(spec) for name, spec in fields.items()}}, required)


def _map(each: Schema) -> Schema:
    return {**MAPPING, "additionalProperties": _or_template(each)}


def _pools(entry: str) -> Schema:
    """Return the schema of a mapping of pools; an entry that is null changes nothing."""
    each = {"anyOf": [{"$ref": f"#/definitions/{entry}"}, {"type": "null"}, TEMPLATE]}
    return {**MAPPING, "propertyNames": dict(POOL_NAME.schema), "additionalProperties": each}


def _accepted() -> Schema:
    ids = {id: kind for id, kind in CATALOGUE.items() if not kind.structural}
    reason = {"type": "string", "pattern": r"\S"}
    return {
        **MAPPING,
        "properties": {id: {"description": kind.title, **reason} for id, kind in ids.items()},
        "patternProperties": {f"^(?:{'|'.join(ids)})@": reason},
        "additionalProperties": False,
    }
