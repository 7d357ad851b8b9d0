"""Filters that derive everything from the fleet's model; see the module utilities for what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ParamSpec, TypeVar

from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet import (
    contract,
    fleet_plan,
    picture,
    plan,
    preflight,
    topology,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model import (
    Finding,
    ModelError,
    plain,
    report,
)

Options = ParamSpec("Options")
Result = TypeVar("Result")


def _told(function: Callable[Options, Result]) -> Callable[Options, Result]:
    """Turn a refusal into an error that Ansible shows as text."""

    def told(*args: Options.args, **kwargs: Options.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except ModelError as refusal:
            raise AnsibleFilterError(f"The fleet's model is refused. {refusal}") from refusal
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return told


def host_plan(
    model: object, host: str, groups: Iterable[object], host_pools: object, hardware: object, nodename: object
) -> dict[str, Any]:
    """Give the plan of one host."""
    planned: dict[str, Any] = plan.host_plan(
        model, plain(host), groups, host_pools, hardware, plain(nodename)
    )
    return planned


def host_overrides(hostvars: Mapping[str, Any], hostnames: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Pick from the variables of hosts what the model needs; what is not known is none."""
    return {plain(host): _host(hostvars[host]) for host in hostnames}


def _host(variables: Mapping[str, Any]) -> dict[str, Any]:
    facts = variables.get("ansible_facts") or {}
    hardware = {
        "cores": plain(facts.get("processor_vcpus")),
        "memory_mib": plain(facts.get("memtotal_mb")),
        "limits": plain(facts.get("fleet_limits")),
        "declared": plain(variables.get("fleet_hardware")),
    }
    known = {key: value for key, value in hardware.items() if value is not None}
    return {
        "groups": plain(variables.get("group_names") or []),
        "host_pools": plain(variables.get("fleet_host_pools") or {}),
        "hardware": known or None,
        "nodename": plain(facts.get("nodename")),
        "distribution": plain(facts.get("distribution")),
        "distribution_version": plain(facts.get("distribution_version")),
        "installed": plain((variables.get("plan_installed") or {}).get("pools")),
    }


def undeclared(hostvars: Mapping[str, Any], hostnames: Sequence[str]) -> list[str]:
    """Give the hosts whose hardware the inventory does not declare."""
    return [host for host in hostnames if hostvars[host].get("fleet_hardware") is None]


def findings(
    model: object, hosts: object, groups: object, allow_untested_os: bool = False
) -> list[dict[str, str]]:
    """Give everything that is wrong with a model, an inventory and its hosts."""
    return [asdict(finding) for finding in preflight.find(model, hosts, groups, allow_untested_os)]


def findings_report(found: Iterable[Mapping[str, str]]) -> str:
    """Write findings as text for a person."""
    text: str = report(Finding(**finding) for finding in plain(found))
    return text


class FilterModule:
    """The filters of the fleet's model."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Give the filters by name."""
        found: dict[str, Callable[..., Any]] = {
            "host_plan": host_plan,
            "host_plans": plan.host_plans,
            "plan_table": lambda plans: plan.plan_table(plain(plans)),
            "fleet_plan": fleet_plan.fleet_plan,
            "fleet_text": lambda document: fleet_plan.fleet_text(plain(document)),
            "fleet_svg": lambda document: picture.svg(plain(document)),
            "fleet_mermaid": lambda document: picture.mermaid(plain(document)),
            "undeclared": undeclared,
            "topology": topology.topology,
            "for_broker_version": topology.for_broker_version,
            "fleet_file": contract.fleet_file,
            "host_overrides": host_overrides,
            "findings": findings,
            "report": findings_report,
        }
        return {name: _told(function) for name, function in found.items()}
