"""The model of group_vars, as a test may change it."""

import copy

import pytest
from support.fleet_model import HOSTS, LOADED


@pytest.fixture
def model():
    return copy.deepcopy(LOADED)


@pytest.fixture
def hosts():
    return {
        name: {
            "groups": groups,
            "pools": {},
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
