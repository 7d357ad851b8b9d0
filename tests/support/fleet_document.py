"""The fleet file of the repository's own model, so that no test types a queue's name twice."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

GROUP_VARS = Path(__file__).parents[2] / "group_vars" / "all"

POOL_FIELDS = (
    "exchange",
    "exchange_type",
    "queue_type",
    "execution",
    "acknowledgement",
    "prefetch_multiplier",
    "max_tasks_per_child",
    "time_limit",
    "soft_time_limit",
)


# With everything that a URL would misunderstand.
PASSWORD = "s3cret/with:odd@signs"


def document(
    password_file: str = "/nowhere/worker",
    verify_password_file: str = "/nowhere/verify",
    user: str = "worker",
    nodes: tuple[tuple[str, int], ...] = (("broker1.example", 5672),),
    vhost: str = "celery_fleet",
) -> dict[str, Any]:
    """Give the contents of `fleet.json` for the pools and rules in group_vars."""
    pools = yaml.safe_load((GROUP_VARS / "pools.yml").read_text(encoding="utf-8"))
    routing = yaml.safe_load((GROUP_VARS / "routing.yml").read_text(encoding="utf-8"))
    return {
        "schema": 1,
        "app": {"name": "demo", "celery_app": "demo.app:app"},
        "broker": {
            "nodes": [{"host": host, "port": port} for host, port in nodes],
            "vhost": vhost,
            "user": user,
            "password_file": password_file,
        },
        "pools": {
            name: _pool({**pools["fleet_pool_defaults"], **pool})
            for name, pool in pools["fleet_pools"].items()
        },
        "routing": deepcopy(routing["fleet_routing"]),
        "verify": {
            "exchange": "fleet_verify",
            "queue": "fleet_verify",
            "routing_key": "answer",
            "user": "verify",
            "password_file": verify_password_file,
        },
    }


def _pool(pool: dict[str, Any]) -> dict[str, Any]:
    queues = {name: {"routing_key": queue["routing_key"]} for name, queue in pool["queues"].items()}
    return {**{field: pool[field] for field in POOL_FIELDS}, "queues": queues}
