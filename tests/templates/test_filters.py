"""The filters as Ansible calls them: with its own strings and mappings, in its own runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from support.fleet_model import HOSTS, LOADED

ROOT = Path(__file__).parents[2]
COLLECTIONS = ROOT / "collections"
FACTS = {
    host: {"processor_vcpus": cores, "memtotal_mb": memory} for host, (_, cores, memory) in HOSTS.items()
}


@pytest.fixture(scope="session", autouse=True)
def _plugins():
    init_plugin_loader([str(COLLECTIONS)])


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
    "fleet_model | celery_fleet.kit.host_plan(host='b1', groups=['balanced_servers'], host_pools=own,"
    " hardware={'cores': 8, 'memory_mib': 64300}, nodename='b1')"
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


def test_hosts_whose_facts_are_unknown_are_taken_as_they_are():
    found = render(
        "hostvars | celery_fleet.kit.host_overrides(['a', 'b'])",
        hostvars={
            "a": {"group_names": ["workers"], "ansible_facts": {}},
            "b": {"fleet_host_pools": {"io": {}}, "ansible_facts": {"processor_vcpus": 2, "memtotal_mb": 5}},
        },
    )
    assert found["a"]["hardware"] is None
    assert found["a"]["groups"] == ["workers"]
    assert found["b"]["hardware"] == {"cores": 2, "memory_mib": 5}
    assert found["b"]["host_pools"] == {"io": {}}


def test_the_topology_for_an_older_broker():
    found = render(
        "fleet_model | celery_fleet.kit.topology(hosts={}) | celery_fleet.kit.for_broker_version('3.10.8')",
        fleet_model=trusted(LOADED),
    )
    assert json.loads(json.dumps(found)) == found
    assert all("consumer-timeout" not in policy["definition"] for policy in found["policies"])


def test_a_version_that_is_none_is_told_as_text():
    with pytest.raises(AnsibleError, match="is not a version of RabbitMQ"):
        render("{'policies': []} | celery_fleet.kit.for_broker_version('new')")


def test_findings_and_their_report():
    text = render(
        "fleet_model | celery_fleet.kit.findings(hosts={}, groups={'brokers': []}) | celery_fleet.kit.report",
        fleet_model=trusted(LOADED),
    )
    assert "inventory/empty-group" in text
    assert "groups.workers" in text


def test_every_filter_is_documented():
    from ansible_collections.celery_fleet.kit.plugins.filter.fleet import FilterModule

    listed = subprocess.run(
        [
            _tool("ansible-doc"),
            "--type",
            "filter",
            "--json",
            *(f"celery_fleet.kit.{n}" for n in FilterModule().filters()),
        ],
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    documents = json.loads(listed.stdout)
    assert len(documents) == len(FilterModule().filters())
    assert all(document["doc"]["short_description"] for document in documents.values())


# Real runs ---------------------------------------------------------------------------------------

PLAYBOOK = [
    {
        "hosts": "workers",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.set_fact": {
                    "cacheable": True,
                    "processor_vcpus": "{{ fake.processor_vcpus }}",
                    "memtotal_mb": "{{ fake.memtotal_mb }}",
                    "nodename": "{{ inventory_hostname }}",
                    "distribution": "{{ fake.distribution | default('Debian') }}",
                    "distribution_version": "13.1",
                }
            }
        ],
    },
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "preflight"}}],
    },
    {
        "hosts": "workers",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ {'plan': fleet_plan, 'file': app_fleet_file} | to_json }}",
                    "dest": "{{ out }}/{{ inventory_hostname }}.json",
                    "mode": "0600",
                },
                "delegate_to": "localhost",
            }
        ],
    },
]


def _tool(name):
    return str(Path(sys.executable).parent / name)


def _environment():
    return os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }


class Site:
    """A site of its own: the repository's model, and an inventory that a test changes."""

    def __init__(self, path):
        self.path = path
        self.inventory = path / "inventory"
        (path / "group_vars").symlink_to(ROOT / "group_vars")
        (path / "out").mkdir()
        self.inventory.mkdir()
        (path / "play.yml").write_text(yaml.safe_dump(PLAYBOOK))
        workers = {
            groups[0]: {"hosts": {host: {"fake": FACTS[host]}}} for host, (groups, _, _) in HOSTS.items()
        }
        self.write("hosts.yml", {"brokers": {"hosts": {"broker1": None}}, "workers": {"children": workers}})
        self.write("group_vars/all.yml", {"ansible_connection": "local", "out": str(path / "out")})

    def write(self, name, data):
        path = self.inventory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(data))

    def run(self, *options):
        return subprocess.run(
            [
                _tool("ansible-playbook"),
                "-i",
                str(self.inventory),
                "-e",
                "app_broker_user=worker",
                *options,
                "play.yml",
            ],
            cwd=self.path,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def result(self, host):
        return json.loads((self.path / "out" / f"{host}.json").read_text())


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_real_run_gives_the_figures_of_the_guide(site):
    run = site.run()
    assert run.returncode == 0, run.stdout + run.stderr
    found = {host: site.result(host)["plan"]["pools"] for host in HOSTS}
    figures = {name: pool["concurrency"] for pools in found.values() for name, pool in pools.items()}
    assert figures == {"cpu": 12, "memory": 4, "io": 50, "general": 10}
    assert found["cpu1"]["cpu"]["node"] == "cpu_worker@cpu1"
    assert "12/14" in run.stdout


def test_each_layer_of_the_inventory_wins_over_the_one_below(site):
    site.write(
        "group_vars/all.yml",
        {
            "ansible_connection": "local",
            "out": str(site.path / "out"),
            "fleet_environment_pools": {
                "cpu": {"max_tasks_per_child": 11},
                "io": {"max_tasks_per_child": 12},
                "memory": {"max_tasks_per_child": 13},
            },
            "fleet_reserve": {"cores": 0.5, "memory": 0.1},
        },
    )
    site.write("group_vars/workers.yml", {"fleet_profiles": _profiles(io=22, memory=23)})
    site.write("host_vars/memory1.yml", {"fleet_host_pools": {"memory": {"max_tasks_per_child": 33}}})
    run = site.run()
    assert run.returncode == 0, run.stdout + run.stderr
    assert _children(site, "balanced1", "general") == 500  # group_vars/all of the repository
    assert _children(site, "cpu1", "cpu") == 11  # the environment, a field
    assert site.result("cpu1")["plan"]["pools"]["cpu"]["concurrency"] == 8  # the environment, a variable
    assert _children(site, "balanced1", "io") == 22  # the profile
    assert _children(site, "memory1", "memory") == 33  # the host


def _profiles(**children):
    profiles = json.loads(json.dumps(LOADED["profiles"]))
    for profile in profiles.values():
        for name in profile["pools"].keys() & children.keys():
            profile["pools"][name] = {"max_tasks_per_child": children[name]}
    return profiles


def _children(site, host, pool):
    found = site.result(host)
    assert (
        found["file"]["pools"][pool]["max_tasks_per_child"]
        == found["plan"]["pools"][pool]["max_tasks_per_child"]
    )
    return found["plan"]["pools"][pool]["max_tasks_per_child"]


def test_preflight_refuses_before_any_host_is_looked_at(site):
    site.write("host_vars/cpu1.yml", {"fleet_host_pools": {"gpu": {}}})
    site.write("host_vars/memory1.yml", {"fake": {"processor_vcpus": 8, "memtotal_mb": 16000}})
    run = site.run()
    assert run.returncode != 0
    assert "host/unknown-pool" in run.stdout
    assert "sizing/too-little-memory" in run.stdout
    assert not list((site.path / "out").iterdir())


def test_an_unknown_distribution_is_refused_by_name_and_can_be_allowed(site):
    site.write("host_vars/cpu1.yml", {"fake": FACTS["cpu1"] | {"distribution": "Plan9"}})
    run = site.run()
    assert run.returncode != 0
    assert "Plan9 13.1" in run.stdout
    assert "preflight_allow_untested_os" in run.stdout
    assert site.run("-e", json.dumps({"preflight_allow_untested_os": True})).returncode == 0
