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
    secrets: str = "/nowhere",
    nodes: tuple[tuple[str, int], ...] = (("broker1.example", 5672),),
    vhost: str = "celery_fleet",
    prefix: str = "",
    ca_file: str | None = None,
) -> dict[str, Any]:
    """Give the contents of `fleet.json` for the pools and rules in group_vars.

    The password of each user is in the file of its name in `secrets`. A broker that several fleets share
    has its users with a prefix.
    """
    model = yaml.safe_load((GROUP_VARS / "pools.yml").read_text(encoding="utf-8"))
    routing = yaml.safe_load((GROUP_VARS / "routing.yml").read_text(encoding="utf-8"))
    pools = {name: {**model["fleet_pool_defaults"], **pool} for name, pool in model["fleet_pools"].items()}

    def login(name: str) -> dict[str, str]:
        return {"user": f"{prefix}{name}", "password_file": f"{secrets}/{name}"}

    return {
        "schema": 2,
        "app": {"name": "demo", "celery_app": "demo.app:app"},
        "broker": {
            "nodes": [{"host": host, "port": port} for host, port in nodes],
            "vhost": vhost,
            "tls": None if ca_file is None else {"ca_file": ca_file},
            **login("client"),
        },
        "pools": {name: {**_pool(pool), **login(f"worker_{name}")} for name, pool in pools.items()},
        "routing": deepcopy(routing["fleet_routing"]),
        "verify": {
            "exchange": "fleet_verify",
            "queue": "fleet_verify",
            "routing_key": "answer",
            **login("verify"),
        },
        "dead_letters": {
            "queues": {f"{pool['exchange']}_dead": [name] for name, pool in pools.items()},
            **login("dead_letters"),
        },
    }


def _pool(pool: dict[str, Any]) -> dict[str, Any]:
    queues = {name: {"routing_key": queue["routing_key"]} for name, queue in pool["queues"].items()}
    return {**{field: pool[field] for field in POOL_FIELDS}, "queues": queues}
