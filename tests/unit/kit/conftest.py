"""The model of group_vars, as a test may change it."""

import copy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
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


def load():
    """The parts of the model that hold no expression, and a small app."""
    variables = {}
    for name in ("pools", "profiles", "routing", "broker"):
        variables |= yaml.safe_load((ROOT / "group_vars/all" / f"{name}.yml").read_text())
    found = {part: variables[f"fleet_{part}"] for part in PARTS}
    found["environment_pools"] = {}
    found["broker"]["nodes"] = ["10.0.0.1"]
    found["app"] = {
        "name": "demo",
        "celery_app": "demo.app:app",
        "source": {"type": "directory", "path": "examples"},
        "requirements": "requirements.lock",
        "python": "python3",
        "wheelhouse": False,
        "keep_releases": 3,
        "environment": {},
    }
    return found


LOADED = load()


@pytest.fixture
def model():
    return copy.deepcopy(LOADED)


@pytest.fixture
def hosts():
    return {
        name: {
            "groups": groups,
            "host_pools": {},
            "hardware": {"cores": cores, "memory_mib": memory},
            "nodename": name,
            "distribution": "Debian",
            "distribution_version": "13.1",
        }
        for name, (groups, cores, memory) in HOSTS.items()
    }


@pytest.fixture
def groups():
    return {
        "all": ["broker1", *HOSTS, "client1"],
        "brokers": ["broker1"],
        "workers": list(HOSTS),
        "clients": ["client1"],
        "cpu_servers": ["cpu1"],
        "memory_servers": ["memory1"],
        "balanced_servers": ["balanced1"],
    }
