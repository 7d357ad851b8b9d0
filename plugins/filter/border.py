"""The border to Ansible: what the kit knows of hosts from their variables, and where a value is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ansible import constants
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.certificates import ends
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import (
    FILES,
    INVENTORY,
    Finding,
    Findings,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.kit import version
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.preflight import checks, fleets, unread

try:
    # Not a public interface of Ansible: without it findings name a file, and no line.
    from ansible._internal._datatag._tags import Origin
except ImportError:
    Origin = None

KIT: Final = Path(__file__).resolve().parents[2]
# Variables that the whole fleet shares and no host should override.
MODEL: Final = (
    "fleet_name",
    "fleet_pool_defaults",
    "fleet_pools",
    "fleet_tuned_pools",
    "fleet_environment_pools",
    "fleet_profiles",
    "fleet_routing",
    "fleet_environment_routing",
    "fleet_reserve",
    "fleet_accepted_findings",
)


def known_host(hostvars: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what is known of one host, as ``read_host`` takes it."""
    return known_hosts(hostvars, [name])[plain(name)]


def known_hosts(hostvars: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of hosts, as ``read_hosts`` takes it; what is not known is none."""
    raw = getattr(hostvars, "raw_get", hostvars.get)
    fleet = raw("localhost") or {}
    return {
        plain(name): {
            "name": plain(name),
            **_host(hostvars[name]),
            "differs": _differs(raw(name) or {}, fleet),
        }
        for name in names
    }


def _differs(variables: Mapping[str, Any], fleet: Mapping[str, Any]) -> list[str]:
    """Return the variables of the model whose value on a host differs from the fleet's, before templating."""
    return [name for name in MODEL if name in fleet and variables.get(name) != fleet[name]]


def _host(variables: Mapping[str, Any]) -> dict[str, Any]:
    facts = variables.get("ansible_facts") or {}
    hardware = {
        "cores": plain(facts.get("processor_vcpus")),
        "memory_mib": plain(facts.get("memtotal_mb")),
        "limits": plain(facts.get("fleet_limits")),
        "declared": plain(variables.get("fleet_hardware")),
    }
    known_hardware = {key: value for key, value in hardware.items() if value is not None}
    return {
        "groups": plain(variables.get("group_names") or []),
        "pools": _pools(variables),
        "hardware": known_hardware or None,
        "nodename": plain(facts.get("nodename")),
        "distribution": plain(facts.get("distribution")),
        "distribution_version": plain(facts.get("distribution_version")),
        "gathered": bool(facts),
        "broker_version": plain(variables.get("broker_version")),
        "broker_package": plain((facts.get("fleet_packages") or {}).get("rabbitmq-server")),
        "broker_source": plain(variables.get("broker_package_source")),
        "broker_management_address": plain(variables.get("broker_management_address")),
        "broker_memory": plain(variables.get("broker_memory_watermark")),
        "broker_disk_mib": plain(facts.get("fleet_broker_disk_mib")),
        "open_files": plain(variables.get("worker_open_files")),
        "client_users": plain(variables.get("fleet_client_users")),
        "accounts": plain(facts.get("fleet_accounts")),
        "python": plain(facts.get("fleet_python")),
        "kit": plain(facts.get("fleet_kit")),
        "fleets": plain(facts.get("fleet_marks")),
        "installed": plain((variables.get("plan_installed") or {}).get("pools")),
    }


def _pools(variables: Mapping[str, Any]) -> object:
    """Return the pools' fields that a host overrides; ``fleet_scale``, which `scale` stored, comes last."""
    pools = plain(variables.get("fleet_host_pools") or {})
    scale = plain(variables.get("fleet_scale") or {})
    if not isinstance(pools, dict) or not scale:
        return pools
    return pools | {name: {**(pools.get(name) or {}), **fields} for name, fields in scale.items()}


def hosts_without_hardware(hostvars: Mapping[str, Any], hostnames: Sequence[str]) -> list[str]:
    """Return the hosts whose hardware the inventory does not declare."""
    return [host for host in hostnames if hostvars[host].get("fleet_hardware") is None]


def findings(
    model: object,
    hosts: object,
    groups: object,
    allow_untested_os: bool = False,
    contacted: bool = False,
    application: object = None,
    variables: object = None,
    certificates: Mapping[str, Any] | None = None,
) -> list[dict[str, str]]:
    """Return everything that is wrong with a model, an inventory and its hosts."""
    about: dict[str, Any] = plain(certificates or {})
    collected = checks.find(
        model,
        hosts,
        groups,
        allow_untested_os,
        contacted=contacted,
        application=application,
        variables=variables,
        certificates=_ends(about) if about else None,
        kit_certificates=bool(about.get("kit", True)),
        kit=version(KIT),
        precedence=constants.VARIABLE_PRECEDENCE,
        config=constants.CONFIG_FILE,
    )
    return [asdict(finding) | _location(finding, model) for finding in collected]


def fleet_findings(
    marks: Mapping[str, object], fleet: str, groups: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Return what is wrong with hosts that carry another fleet, for verbs that do not check everything."""
    collected = Findings()
    fleets.check(plain(fleet), plain(marks), plain(groups), collected)
    return [asdict(finding) for finding in collected]


def _ends(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say of the certificates on the controller when they end."""
    stored = zip(about["servers"], about["stored"], strict=True)
    rows: list[dict[str, Any]] = ends(
        [{**server, "pem": pem} for server, pem in stored],
        about["authorities"],
        int(about["renew_before_days"]),
    )
    return rows


def _location(finding: Finding, model: object) -> dict[str, str]:
    """Return the file and line of a finding's value, if Ansible knows it."""
    if finding.where not in {*FILES.values(), INVENTORY}:
        return {}
    value, place = model, None
    keys = finding.variable.removeprefix("fleet_").split(".")
    while keys and isinstance(value, Mapping | list):
        # A key may hold dots itself.
        for length in range(1, len(keys) + 1):
            key: Any = ".".join(keys[:length])
            if isinstance(value, list):
                key = _index(value, key)
            if key is not None and (isinstance(value, list) or key in value):
                break
        else:
            break
        value, keys = value[key], keys[length:]
        place = _place(value) or place
    return {"where": place} if place else {}


def _index(items: list[Any], key: str) -> int | None:
    """Return the place of an item in a list, by its number or its name."""
    names = [each.get("name") if isinstance(each, Mapping) else None for each in items]
    if key in names:
        return names.index(key)
    return int(key) if key.isdecimal() and int(key) < len(items) else None


def _place(value: object) -> str | None:
    """Return the file and line of a value."""
    origin = Origin.get_tag(value) if Origin else None
    if origin is None or not origin.path:
        return None
    path = Path(origin.path)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{origin.line_num}" if origin.line_num else str(shown)


def unread_variables(hostvars: Mapping[str, Any], hostnames: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the variables of hosts that look like the kit's own, and that it does not read."""
    names = {plain(host): list(map(plain, hostvars[host])) for host in hostnames}
    unknown: dict[str, dict[str, Any]] = unread.unread(names, KIT)
    raw = getattr(hostvars, "raw_get", hostvars.get)
    return {
        name: {**about, "file": _place((raw(about["hosts"][0]) or {}).get(name))}
        for name, about in unknown.items()
    }


def kit_path(path: str) -> str:
    """Return the path of a file or directory of the kit, wherever that is installed."""
    return str(KIT / plain(path))


def kit_version(kit: str) -> str:
    """Return the version of the kit in a directory."""
    text: str = version(Path(plain(kit)))
    return text


class FilterModule:
    """The filters that read Ansible's own variables, and know where the kit is."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "known_host": known_host,
            "known_hosts": known_hosts,
            "hosts_without_hardware": hosts_without_hardware,
            "findings": findings,
            "fleet_findings": fleet_findings,
            "unread_variables": unread_variables,
            "kit_path": kit_path,
            "kit_version": kit_version,
        }
