"""The plan of the fleet as one document: what would run where, why, and what would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from ..model.host import read_hosts
from ..model.read import read_model
from .derived import pool_fields
from .host import build_plan
from .installed import changes

SCHEMA: Final = 1


def fleet_plan(raw_model: object, hosts: object) -> dict[str, Any]:
    """Plan a fleet, host by host.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: Every worker host, as ``read_hosts`` takes them.

    Returns:
        In plain types the ``pools`` of the model, the ``hosts`` (each with its ``state``: ``planned``,
        ``refused`` if its pools do not fit, ``unknown`` if nothing is known of its hardware; its plan, and
        its ``changes``, none if the host was not read), the ``schedule`` of the model and the ``findings``.
        Environments and arguments without values.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    entries = []
    for host in read_hosts(hosts).values():
        host_findings = findings.fresh()
        plan = build_plan(model, host, host_findings)
        entries.append(_entry(host.name, plan, host.installed, bool(host_findings.errors)))
        findings.extend(host_findings)
    return {
        "schema": SCHEMA,
        "pools": {name: _shown(pool_fields(pool)) for name, pool in model.pools.items()},
        "hosts": entries,
        "schedule": {name: _periodic(entry) for name, entry in model.schedule.items()},
        "findings": [asdict(finding) for finding in findings],
    }


def _entry(
    host: str, plan: Mapping[str, Any] | None, installed: Mapping[str, Any] | None, refused: bool
) -> dict[str, Any]:
    pools = plan["pools"] if plan else {}
    state = "refused" if refused else "planned" if plan else "unknown"
    return {
        "host": host,
        "state": state,
        "profiles": plan["profiles"] if plan else [],
        "hardware": plan["hardware"] if plan else None,
        "pools": {name: _shown(pool) for name, pool in pools.items()},
        "changes": changes(pools, installed) if installed is not None and state == "planned" else None,
    }


def _periodic(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: entry[name] for name in ("task", "every", "crontab", "queue") if entry.get(name) is not None
    }


def _shown(pool: Mapping[str, Any]) -> dict[str, Any]:
    return {**pool, "environment": sorted(pool["environment"])}
