"""Filters of the status playbook; see the module utilities in `status/` for what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.certificates import BROKER, RESULTS, ends
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import ModelError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.host import read_hosts
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.names import DEAD
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.pools import effective_pools
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.read import read_model
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.status.document import document
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.status.screen import text


def fleet_status(
    model: object,
    hosts: Mapping[str, Any],
    variables: Mapping[str, Any],
    brokers: Mapping[str, Any],
    schedulers: Iterable[str] = (),
    results: Mapping[str, Any] | None = None,
    certificates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the fleet's status, and find what is wrong."""
    fleet, findings = read_model(model)
    expected = {
        name: list(effective_pools(fleet, host, findings)) for name, host in read_hosts(variables).items()
    }
    try:
        findings.refuse()
    except ModelError as refusal:
        raise AnsibleFilterError(f"The fleet's model is refused. {refusal}") from refusal
    reported: dict[str, Any] = plain(brokers)
    about: dict[str, Any] = plain(certificates or {})
    answers = [each for each in reported.values() if "queues" in each]
    faults = {
        name: each.get("error") or each.get("msg")
        for name, each in reported.items()
        if each.get("error") or each.get("unreachable")
    }
    pools = fleet.pools.values()
    used = {name for names in expected.values() for name in names}
    status: dict[str, Any] = document(
        hosts={name: each if isinstance(each, dict) else {} for name, each in plain(hosts).items()},
        expected=expected,
        broker={
            "asked": bool(reported),
            "queues": answers[0]["queues"] if answers else None,
            "obstacles": answers[0]["obstacles"] if answers else [],
            "errors": [f"{name}: {' '.join(str(why).split())}" for name, why in faults.items()],
        },
        pools={pool.name: list(pool.queues) for pool in pools if pool.name in used},
        unused={pool.name: list(pool.queues) for pool in pools if pool.name not in used},
        dead=dict.fromkeys(f"{pool.exchange}{DEAD}" for pool in pools),
        schedulers=plain(schedulers),
        results=plain(results or {}),
        certificates=ends(about["servers"], about["authorities"], int(about["renew_before_days"]))
        if about
        else (),
        kit_certificates=bool(about.get("kit", True)),
    )
    return status


def tls_servers(
    groups: Mapping[str, Sequence[str]], broker: Mapping[str, Any], results: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the servers with a certificate: kind, name of the host, address and port.

    Args:
        groups: The inventory's groups with their hosts.
        broker: The variable ``fleet_broker``.
        results: The variable ``fleet_results``.
    """
    servers = ((BROKER, "brokers", broker), (RESULTS, "results", results))
    return [
        {"kind": kind, "name": host, "address": address, "port": server["port"]}
        for kind, group, server in servers
        # A site may name other addresses, such as one of a load balancer.
        for host, address in zip(groups.get(group) or (), server["nodes"], strict=False)
    ]


class FilterModule:
    """Filters of the status playbook."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "fleet_status": fleet_status,
            "status_text": lambda status: text(plain(status)),
            "tls_servers": lambda groups, broker, results: tls_servers(
                plain(groups), plain(broker), plain(results)
            ),
        }
