"""The verb tune as a site runs it: what it would write, what it writes, and that this settles the matter."""

from __future__ import annotations

import json

import pytest
import yaml
from fleet.host.metrics import RUNTIME_EDGES
from support.ansible_runs import FACTS, Run, facts
from support.fleet_model import HOSTS, ROOT

DAY = 86_400.0
BUSY = 2_000_000.0
USED = {
    "pools": {
        "io": {
            "span_s": DAY,
            "busy_s": BUSY,
            "slot_s": 50 * DAY,
            "held_s": 0.0,
            "held": 0.0,
            "exits": {"recycled": 0.0, "killed": 0.0, "error": 0.0},
            "tasks": {
                "shop.fetch": {
                    "ended": 100_000.0,
                    "limited": 0.0,
                    "runtime_s": BUSY,
                    "buckets": [0.0] * 7 + [100_000.0] + [0.0] * (len(RUNTIME_EDGES) - 7),
                }
            },
            "cpu_s": 0.12 * BUSY,
            "memory_mib": 900.0,
            "memory_peak_mib": 1000.0,
            "oom_kills": 0,
            "main_mib": 60.0,
            "children": [{"mib": 200.0, "age_s": DAY}] * 50,
            "own_limits": {},
        }
    },
    "errors": 0,
}


@pytest.fixture
def site(tmp_path) -> Run:
    """Servers whose facts and whose tasks' use are given, and the playbook with all that comes after."""
    [play] = yaml.safe_load((ROOT / "playbooks/tune.yml").read_text())
    read, used, *rest = play["tasks"]
    assert ("celery_fleet.kit.host_facts" in read, used["register"]) == (True, "tune_used")
    given = {"ansible.builtin.set_fact": {"tune_used": "{{ fake_used }}"}, "when": "fake_used is defined"}
    fake = facts(
        "brokers:workers",
        processor_vcpus="{{ fake.processor_vcpus }}",
        memtotal_mb="{{ fake.memtotal_mb }}",
    )
    run = Run(tmp_path, tmp_path / "inventory", [fake, {**play, "tasks": [given, *rest]}])
    run.inventory.mkdir()
    groups = {groups[0]: {"hosts": {host: {"fake": FACTS[host]}}} for host, (groups, _, _) in HOSTS.items()}
    groups["balanced_servers"]["hosts"]["balanced1"]["fake_used"] = USED
    for name in ("cpu1", "memory1"):
        groups[HOSTS[name][0][0]]["hosts"][name]["fake_used"] = {"unreachable": True}
    hosts = {"brokers": {"hosts": {"broker1": {"fake": FACTS["cpu1"]}}}, "workers": {"children": groups}}
    (run.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    return run


def test_what_is_written_is_the_difference_that_was_shown_and_settles_the_matter(site):
    layer = site.inventory / "group_vars/all/fleet_tuned.yml"
    options = ("-e", "tune_write=true", "-e", f"tune_file={site.path}/tune.json")

    shown = site.run("--check", "--diff", *options)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "+    demand:" in shown.stdout and "concurrency 50 → 25" in shown.stdout
    assert not layer.exists()
    document = json.loads((site.path / "tune.json").read_text())
    assert document["hosts"] == {"cpu1": "unreachable", "memory1": "unreachable", "balanced1": "read"}

    written = site.run(*options)
    assert written.returncode == 0, written.stdout + written.stderr
    assert yaml.safe_load(layer.read_text()) == {"fleet_tuned_pools": document["tuned"]}
    assert document["tuned"] == {"io": {"demand": {"cores": 0.12}}}

    again = site.run(*options)
    assert again.returncode == 0, again.stdout + again.stderr
    document = json.loads((site.path / "tune.json").read_text())
    assert (document["tuned"], document["plan"]) == ({}, [])
    assert {row["model"] for row in document["figures"] if row["figure"] == "demand.cores"} == {0.12}
    assert "fleet_tuned.yml" not in again.stdout
