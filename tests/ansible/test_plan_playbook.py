"""The verb plan as a site runs it: on inventories whose servers do not exist."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from support.ansible_runs import ansible

ROOT = Path(__file__).parents[2]
SINGLE = {
    (2, 4): {"cpu": 1, "io": 3, "memory": 1, "general": 2},
    (4, 8): {"cpu": 3, "io": 6, "memory": 3, "general": 4},
    (8, 16): {"cpu": 6, "io": 13, "memory": 6, "general": 8},
    (32, 64): {"cpu": 26, "io": 55, "memory": 26, "general": 33},
    (64, 512): {"cpu": 53, "io": 111, "memory": 53, "general": 66},
}


def plan(path, *inventories, **variables):
    """Run the playbook, and return its run and the document that it wrote."""
    sources = [word for inventory in inventories for word in ("-i", str(inventory))]
    outputs = {"plan_output": "plan.json", "plan_picture": "fleet.svg"}
    given = [*sources, "-e", json.dumps(outputs | variables)]
    run = ansible("ansible-playbook", *given, str(ROOT / "playbooks/plan.yml"), cwd=path)
    written = path / "plan.json"
    return run, json.loads(written.read_text()) if written.exists() else None


def inventory(path, name, data):
    place = path / name
    place.write_text(yaml.safe_dump(data))
    return place


def declared(cores, gib):
    return {"fleet_hardware": {"cores": cores, "memory_gib": gib}}


def tasks(host):
    return {name: pool["concurrency"] for name, pool in host["pools"].items()}


def test_declared_hosts_are_planned_beside_one_that_nobody_reaches(tmp_path):
    hosts = inventory(
        tmp_path,
        "hosts.yml",
        {
            "brokers": {"hosts": {"broker1": None}},
            "workers": {
                "children": {
                    "cpu_servers": {
                        "hosts": {
                            "cpu-1": declared(16, 32),
                            "cpu-2": declared(16, 32) | {"fleet_host_pools": {"cpu": {"concurrency": 8}}},
                        }
                    },
                    "memory_servers": {"hosts": {"memory-1": declared(8, 128)}},
                    "balanced_servers": {
                        "hosts": {
                            "balanced-1": declared(8, 64),
                            "balanced-2": {"ansible_host": "gone.invalid"},
                        }
                    },
                }
            },
        },
    )
    run, document = plan(tmp_path, hosts)
    assert run.returncode == 0, run.stdout + run.stderr
    found = {host["host"]: host for host in document["hosts"]}
    assert tasks(found["cpu-1"]) == {"cpu": 12}
    assert tasks(found["memory-1"]) == {"memory": 4}
    assert tasks(found["balanced-1"]) == {"io": 50, "general": 10}
    assert found["balanced-2"]["state"] == "unknown"
    assert found["cpu-2"]["pools"]["cpu"]["overrides"] == [
        {"field": "concurrency", "value": 8, "replaced": 12, "by": "fleet_host_pools.cpu"}
    ]
    contacted = run.stdout.split("PLAY RECAP")[1]
    assert "cpu-1" not in contacted and "memory-1" not in contacted
    assert "override (not 12)" in run.stdout
    assert ET.parse(tmp_path / "fleet.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "fleet.mmd").read_text().startswith("flowchart LR")


@pytest.mark.further
def test_one_server_for_everything_in_five_sizes(tmp_path):
    hosts = {f"s{cores}": declared(cores, gib) for cores, gib in SINGLE}
    hosts["server.example.com"] = declared(2, 4)
    more = inventory(tmp_path, "more.yml", {"single_servers": {"hosts": hosts}})
    run, document = plan(tmp_path, ROOT / "inventories/single", more)
    assert run.returncode == 0, run.stdout + run.stderr
    found = {host["host"]: host for host in document["hosts"]}
    assert {size: tasks(found[f"s{size[0]}"]) for size in SINGLE} == SINGLE
    for cores, gib in SINGLE:
        pools = found[f"s{cores}"]["pools"].values()
        # What the pools may use leaves the broker its memory, and the system a tenth.
        assert sum(pool["memory_max_mib"] for pool in pools) <= (1 - 0.2 - 0.1) * gib * 1024
        assert sum(pool["budget"]["cores"] for pool in pools) == pytest.approx((1 - 0.375) * cores)


@pytest.mark.further
def test_a_fleet_that_does_not_fit_is_shown_and_then_refused(tmp_path):
    hosts = inventory(
        tmp_path,
        "hosts.yml",
        {
            "brokers": {"hosts": {"broker1": None}},
            "workers": {
                "children": {
                    "cpu_servers": {"hosts": {"cpu-1": declared(16, 32)}},
                    "memory_servers": {"hosts": {"memory-1": declared(8, 16)}},
                    "balanced_servers": {"hosts": {}},
                }
            },
        },
    )
    run, document = plan(tmp_path, hosts)
    assert run.returncode != 0
    assert [host["state"] for host in document["hosts"]] == ["planned", "refused"]
    assert "sizing/too-little-memory" in run.stdout
    assert "24576" in run.stdout
