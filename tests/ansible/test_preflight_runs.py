"""Preflight as a site runs it: what it says of real inventories, before and after the hosts were asked."""

import json

import pytest
from support.ansible_runs import Inventory

# Most look at the same two runs, so one process makes them.
pytestmark = pytest.mark.xdist_group("preflight")


@pytest.fixture
def inventory(tmp_path):
    return Inventory(tmp_path)


def told(run):
    """What a run printed, without Ansible's line breaks."""
    return " ".join(run.stdout.split())


def test_an_accepted_override_is_planned_and_told_with_its_reason(inventory):
    inventory.write("host_vars/balanced1.yml", {"fleet_host_pools": {"io": {"concurrency": 60}}})
    refused = inventory.run()
    assert refused.returncode != 0
    assert "sizing/over-budget" in refused.stdout
    inventory.write(
        "group_vars/all.yml", {"fleet_accepted_findings": {"sizing/over-budget@balanced1": "they sleep"}}
    )
    run = inventory.run()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "accepted, because: they sleep" in told(run)
    assert "1 accepted." in told(run)
    assert inventory.result("balanced1")["plan"]["pools"]["io"]["concurrency"] == 60
    assert "--concurrency 60" in inventory.unit("balanced1", "io")


# A run costs seconds, so all that is only told is told by one run, and all that refuses by another.
@pytest.fixture(scope="module")
def warned(tmp_path_factory):
    inventory = Inventory(tmp_path_factory.mktemp("warned"))
    inventory.write("group_vars/all.yml", {"fleet_accepted_findings": {"sizing/over-budget": "they sleep"}})
    inventory.write("group_vars/cpu_servers.yml", {"fleet_reserve": {"cores": 0.5, "memory": 0.1}})
    inventory.write("host_vars/cpu1.yml", {"app_favourite_colour": "s3cret"})
    run = inventory.run()
    assert run.returncode == 0, run.stdout + run.stderr
    return run


MISSPELT = {
    "broker_disk_free_limits": "broker_disk_free_limit",
    "fleet_host_pool": "fleet_host_pools",
    "worker_open_file": "worker_open_files",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    inventory = Inventory(tmp_path_factory.mktemp("refused"))
    inventory.write(
        "group_vars/all.yml",
        {
            "a_first_line": 1,
            "fleet_environment_pools": {"cpu": {"max_tasks_per_child": 5, "prefetch_multiplier": 9}},
            "fleet_environment_routing": {"site_rules": [{"name": "mail", "queue": "gone", "words": ["a"]}]},
        },
    )
    inventory.write("host_vars/cpu1.yml", dict.fromkeys(sorted(MISSPELT), "s3cret"))
    run = inventory.run()
    assert run.returncode != 0
    assert "s3cret" not in run.stdout
    return run


def test_an_acceptance_that_nothing_needs_is_told_when_the_hosts_are_known(warned):
    assert told(warned).count("accept/unused") == 1


def test_a_group_with_a_model_of_its_own_is_told(warned):
    assert "inventory/another-model" in warned.stdout
    assert "fleet_reserve = (of this host)" in warned.stdout


def test_a_variable_that_nobody_reads_is_told_with_its_file(warned):
    assert "inventory/unknown-variable" in warned.stdout
    assert "inventory/host_vars/cpu1.yml:1" in warned.stdout
    assert "s3cret" not in warned.stdout


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_variable_is_told_with_its_file_and_the_nearest(refused, name):
    assert "inventory/misspelt-variable" in refused.stdout
    assert f"inventory/host_vars/cpu1.yml:{sorted(MISSPELT).index(name) + 1}" in refused.stdout
    assert f"did you mean '{MISSPELT[name]}'?" in told(refused).replace("''", "'")


def test_a_finding_names_the_line_in_which_its_value_stands(refused):
    assert "mistake/high-prefetch" in refused.stdout
    assert "inventory/group_vars/all.yml:5" in refused.stdout
    assert "fleet_environment_routing.site_rules.mail.queue = gone" in told(refused)
    assert "inventory/group_vars/all.yml:9" in refused.stdout


@pytest.mark.further
def test_a_host_that_gave_no_facts_stops_the_run_unless_it_is_limited(inventory):
    inventory.write("more.yml", {"clients": {"hosts": {"client1": None}}})
    run = inventory.run()
    assert run.returncode != 0
    assert "inventory/unreachable" in run.stdout
    assert "groups.clients = client1" in run.stdout
    limited = inventory.run("--limit", "localhost,workers")
    assert limited.returncode == 0, limited.stdout + limited.stderr


@pytest.mark.further
def test_a_limited_run_is_looked_at_as_well(inventory):
    inventory.write("group_vars/all.yml", {"ansible_connection": "local", "fleet_pools": {}})
    run = inventory.run("--limit", "cpu1", playbooks=("preflight.yml",))
    assert run.returncode != 0
    assert "pool/none" in run.stdout
    assert "Preflight | Gather facts" not in run.stdout


@pytest.mark.further
def test_versions_are_read_from_the_application_s_lock(inventory):
    source = inventory.path / "app"
    source.mkdir()
    (source / "requirements.lock").write_text("celery==5.4.0 \\\n    --hash=sha256:0\nkombu==5.7.0\n")
    app = {
        "name": "demo",
        "celery_app": "demo.app:app",
        "source": {"type": "directory", "path": "{{ inventory_dir | dirname }}/app"},
        "requirements": "requirements.lock",
    }
    run = inventory.run("-e", json.dumps({"fleet_app": app}), playbooks=("preflight.yml",))
    assert run.returncode != 0
    assert "model/missing-key" not in run.stdout, "what a site does not say has a default"
    assert "versions/celery-too-old" in run.stdout
    assert "fleet_app.requirements = celery 5.4.0" in run.stdout
