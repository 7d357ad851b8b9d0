"""The filters as Ansible calls them: with its own strings and mappings, in its own runs."""

import json
import re
from importlib import import_module

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from fleet.monitoring.consoles import consoles
from support.ansible_runs import FACTS, Inventory
from support.fleet_model import HOSTS, LOADED, ROOT


def render(expression, **variables):
    """Evaluate an expression as a playbook would."""
    trusted = {
        name: trust_as_template(value) if isinstance(value, str) else value
        for name, value in variables.items()
    }
    return Templar(DataLoader(), variables=trusted).template(trust_as_template("{{ " + expression + " }}"))


def trusted(data):
    """Mark every string in nested data as a template, as the YAML of an inventory is."""
    if isinstance(data, dict):
        return {trusted(key): trusted(value) for key, value in data.items()}
    if isinstance(data, list):
        return [trusted(item) for item in data]
    return trust_as_template(data) if isinstance(data, str) else data


PLAN = (
    "fleet_model | celery_fleet.kit.host_plan({'name': 'b1', 'groups': ['balanced_servers'], 'pools': own,"
    " 'hardware': {'cores': 8, 'memory_mib': 64300}, 'nodename': 'b1'})"
)


def test_values_that_are_templates_reach_the_plan_as_values():
    model = trusted(LOADED)
    model["pools"]["io"]["max_tasks_per_child"] = trust_as_template("{{ figure }}")
    plan = render(PLAN, fleet_model=model, figure=77, own={})
    assert plan["pools"]["io"]["max_tasks_per_child"] == 77
    assert plan["pools"]["io"]["concurrency"] == 50


def test_a_refusal_is_the_report():
    with pytest.raises(AnsibleError, match=r"fleet_host_pools\.io\.concurrency = 99") as refusal:
        render(PLAN, fleet_model=trusted(LOADED), own=trusted({"io": {"concurrency": 99}, "ioo": {}}))
    assert "host/unknown-pool" in str(refusal.value)
    assert "Traceback" not in str(refusal.value)


def test_nothing_is_derived_with_settings_by_which_a_site_would_not_count(monkeypatch):
    filters = import_module("ansible_collections.celery_fleet.kit.plugins.filter.fleet")
    assert filters.UNREAD == ""
    monkeypatch.setattr(filters, "UNREAD", "no precedence")
    with pytest.raises(AnsibleError, match="no precedence: run it in the directory"):
        render("'demo' | celery_fleet.kit.installation")
    assert render("{} | celery_fleet.kit.is_readable") is False


def test_hosts_whose_facts_are_unknown_are_taken_as_they_are():
    found = render(
        "hostvars | celery_fleet.kit.known_hosts(['a', 'b'])",
        hostvars={
            "a": {"group_names": ["workers"], "ansible_facts": {}},
            "b": {"fleet_host_pools": {"io": {}}, "ansible_facts": {"processor_vcpus": 2, "memtotal_mb": 5}},
        },
    )
    assert found["a"]["hardware"] is None
    assert found["a"]["groups"] == ["workers"]
    assert found["b"]["hardware"] == {"cores": 2, "memory_mib": 5}
    assert found["b"]["pools"] == {"io": {}}


def test_a_host_tells_which_version_of_the_kit_it_has():
    hostvars = {"cpu1": {"ansible_facts": {"fleet_kit": "9.0.0"}}, "localhost": {}}
    assert render("hostvars | celery_fleet.kit.known_host('cpu1')", hostvars=hostvars)["kit"] == "9.0.0"


def test_the_topology_is_plain_data():
    found = render("fleet_model | celery_fleet.kit.topology(hosts={})", fleet_model=trusted(LOADED))
    assert json.loads(json.dumps(found)) == found


def test_every_filter_is_used():
    names = {
        name
        for path in (ROOT / "plugins/filter").glob("*.py")
        for name in import_module(f"ansible_collections.celery_fleet.kit.plugins.filter.{path.stem}")
        .FilterModule()
        .filters()
    }
    texts = [
        path.read_text()
        for folder in ("group_vars", "playbooks", "roles", "molecule")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".yml", ".j2")
    ]
    assert {name for name in names if not any(f"celery_fleet.kit.{name}" in text for text in texts)} == set()


def test_the_broker_s_modules_call_their_login_the_same():
    for path in (ROOT / "plugins/modules").glob("rabbitmq_*.py"):
        assert not re.search(r'"(?:user|password)": \{', path.read_text()), path.stem


def test_findings_and_their_report():
    text = render(
        "fleet_model | celery_fleet.kit.findings(hosts={}, groups={'brokers': []})"
        " | celery_fleet.kit.findings_text",
        fleet_model=trusted(LOADED),
    )
    assert "inventory/empty-group" in text
    assert "groups.workers" in text


# Real runs ---------------------------------------------------------------------------------------


@pytest.fixture
def inventory(tmp_path):
    return Inventory(tmp_path)


def test_a_real_run_gives_the_figures_of_the_guide(inventory):
    run = inventory.run()
    assert run.returncode == 0, run.stdout + run.stderr
    found = {host: inventory.result(host)["plan"]["pools"] for host in HOSTS}
    figures = {name: pool["concurrency"] for pools in found.values() for name, pool in pools.items()}
    assert figures == {"cpu": 12, "memory": 4, "io": 50, "general": 10}
    assert found["cpu1"]["cpu"]["node"] == "cpu_worker@cpu1"
    assert "12/14" in run.stdout


def test_preflight_refuses_before_any_host_is_looked_at(inventory):
    inventory.write("host_vars/cpu1.yml", {"fleet_host_pools": {"gpu": {}}})
    inventory.write("host_vars/memory1.yml", {"fake": {"processor_vcpus": 8, "memtotal_mb": 16000}})
    run = inventory.run()
    assert run.returncode != 0
    assert "host/unknown-pool" in run.stdout
    assert "sizing/too-little-memory" in run.stdout
    assert not list((inventory.path / "out").iterdir())


def test_an_unknown_distribution_is_refused_by_name_and_can_be_allowed(inventory):
    inventory.write("host_vars/cpu1.yml", {"fake": FACTS["cpu1"] | {"distribution": "Plan9"}})
    run = inventory.run()
    assert run.returncode != 0
    assert "Plan9 13.1" in run.stdout
    assert "preflight_allow_untested_os" in run.stdout
    assert inventory.run("-e", json.dumps({"preflight_allow_untested_os": True})).returncode == 0


def test_consoles_keep_the_braces_that_prometheus_fills_in():
    pages = render("none | celery_fleet.kit.consoles")
    assert pages == consoles()
    assert render("pages['fleet.html']", pages=pages).startswith("{{ $chosen")
