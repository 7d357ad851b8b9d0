"""The model of this repository, read from where a site writes it, and three servers for it."""

from pathlib import Path
from typing import Any

import yaml
from fleet.plan import host

ROOT = Path(__file__).parents[2]
PARTS = (
    "pool_defaults",
    "pools",
    "profiles",
    "reserve",
    "routing",
    "broker",
)
HOSTS = {
    "cpu1": (["cpu_servers", "workers"], 16, 32102),
    "memory1": (["memory_servers", "workers"], 8, 128700),
    "balanced1": (["balanced_servers", "workers"], 8, 64300),
}


def load() -> dict[str, Any]:
    """The parts of the model that hold no expression, and a small app."""
    variables: dict[str, Any] = {}
    for name in ("fleet", "pools", "profiles", "routing", "broker"):
        variables |= yaml.safe_load((ROOT / "group_vars/all" / f"{name}.yml").read_text())
    parts: dict[str, Any] = {part: variables[f"fleet_{part}"] for part in PARTS}
    parts["environment_pools"] = {}
    parts["broker"] |= {"vhost": variables["fleet_name"], "nodes": ["10.0.0.1"], "port": 5672}
    parts["broker"] |= {"tls": False, "client_control": False}
    parts["app"] = {
        "name": "demo",
        "celery_app": "demo.app:app",
        "source": {"type": "directory", "path": "examples/demo"},
        "requirements": "requirements.lock",
        "python": "python3",
        "wheelhouse": False,
        "keep_releases": 3,
        "environment": {},
    }
    return parts


LOADED = load()


def host_plan(
    model: object, name: str, groups: object, pools: object, hardware: object, nodename: object = None
) -> dict[str, Any]:
    """Return the plan of a host that is given by its parts."""
    parts = {"name": name, "groups": groups, "pools": pools, "hardware": hardware, "nodename": nodename}
    return host.host_plan(model, parts)
