"""Prometheus' configuration: which hosts are read, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..broker.objects import dead_letter_queue
from ..host.names import NODE_PATH
from ..model.plain import plain
from ..model.read import read_model
from ..model.types import Model

RULES: Final = ("model.yml", "alerts.yml")
# Of each queue, without its channels, whose ids change. 3.10 ignores those that it does not know.
FAMILIES: Final = (
    "queue_coarse_metrics",
    "queue_consumer_count",
    "queue_delivery_metrics",
    "exchange_metrics",
)


def prometheus_config(raw_model: object, hosts: object, ports: object, tls: object = None) -> dict[str, Any]:
    """Return the content of `prometheus.yml`.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: By the names ``workers`` and ``brokers`` the address of each host by its name.
        ports: The port of each of ``exporter``, ``rabbitmq``, ``prometheus`` and ``alertmanager``.
        tls: Files on this host, ``ca`` and ``certificate`` (with its key), by which it and those that it
            reads prove who they are; none without TLS.

    Returns:
        The configuration in plain types.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    members, listens = plain(hosts), plain(ports)
    files = plain(tls)
    how = (
        {
            "scheme": "https",
            "tls_config": {
                "ca_file": files["ca"],
                "cert_file": files["certificate"],
                "key_file": files["certificate"],
            },
        }
        if files
        else {}
    )
    scrape_s = model.monitoring.scrape
    broker = {"static_configs": _targets(members["brokers"], listens["rabbitmq"]), **how}
    return {
        "global": {
            "scrape_interval": f"{scrape_s}s",
            "scrape_timeout": f"{min(scrape_s, 10)}s",
            "evaluation_interval": f"{min(2 * scrape_s, 30)}s",
        },
        "rule_files": list(RULES),
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{listens['alertmanager']}"]}]}]
        },
        "scrape_configs": [
            {
                "job_name": "celery_fleet",
                "static_configs": _targets(members["workers"], listens["exporter"]),
                **how,
            },
            {
                "job_name": "node",
                "metrics_path": NODE_PATH,
                "static_configs": _targets(members["workers"], listens["exporter"]),
                **how,
            },
            {"job_name": "rabbitmq", **broker},
            {
                "job_name": "rabbitmq_queues",
                "metrics_path": "/metrics/detailed",
                "params": {"vhost": [model.broker.vhost], "family": list(FAMILIES)},
                "metric_relabel_configs": [_only_queues_of(model)],
                **broker,
            },
            *(
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{listens[name]}"]}]}
                for name in ("prometheus", "alertmanager")
            ),
        ],
    }


def _only_queues_of(model: Model) -> dict[str, Any]:
    """Return the rule that drops other queues: each worker has some of its own, new ones at each start."""
    names = {queue for pool in model.pools.values() for queue in pool.queues}
    names |= {dead_letter_queue(pool) for pool in model.pools.values()}
    # What is said of an exchange has no queue.
    return {"source_labels": ["queue"], "regex": "|".join(["", *sorted(names)]), "action": "keep"}


def _targets(hosts: Mapping[str, str], port: int) -> list[dict[str, Any]]:
    """Return the targets, each by the name that its host has in the inventory, as in the plan."""
    return [
        {"targets": [f"{_bracketed(address)}:{port}"], "labels": {"instance": name}}
        for name, address in hosts.items()
    ]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
