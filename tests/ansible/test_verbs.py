"""What the verbs have in common: `fleet_pool`, and the hosts that a run derives."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from support.ansible_runs import Inventory, ansible, facts
from support.fleet_model import ROOT

ADDED_POOL = ROOT / "docs/examples/overrides/added_pool"
VERBS = ROOT / "playbooks"
CHOOSE = "parts/choose_pools.yml"
# Where Ansible evaluates: in braces, and in conditions.
EVALUATED = re.compile(r"\{[{%].*?[%}]\}|^\s*(?:- )?(?:when|that|until):.*?$", re.DOTALL | re.MULTILINE)


def choose(pools: str) -> subprocess.CompletedProcess[str]:
    """Run what checks `fleet_pool` on an inventory whose environment adds a pool."""
    given = ["-i", str(ADDED_POOL), "-e", f"fleet_pool={pools}"]
    return ansible("ansible-playbook", *given, str(VERBS / CHOOSE))


def test_a_pool_that_an_environment_adds_can_be_chosen():
    run = choose("gpu,cpu")
    assert run.returncode == 0, run.stdout + run.stderr


def test_an_unknown_pool_is_rejected_with_those_of_the_model():
    run = choose("gpu,gqu")
    assert run.returncode != 0
    assert "names gqu, which the model does not have" in " ".join(run.stdout.split())
    assert "gpu" in run.stdout.partition("its pools are")[2]


@pytest.mark.parametrize("verb", ["deploy", "drain", "undrain", "restart", "rollback", "scale"])
def test_every_verb_that_takes_pools_checks_them_first(verb):
    first = yaml.safe_load((VERBS / f"{verb}.yml").read_text())[0]
    assert first["ansible.builtin.import_playbook"] == CHOOSE


def test_no_role_reads_a_variable_of_the_fleet():
    reads = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / "roles").glob("*/*/*")
        if path.parent.name in ("tasks", "handlers", "templates", "vars", "defaults")
        and (found := re.findall(r"(?<![\w.'])fleet_\w+", " ".join(EVALUATED.findall(path.read_text()))))
    }
    assert reads == {}


def test_no_variable_of_the_repository_is_defined_twice():
    names = [
        name for path in (ROOT / "group_vars/all").glob("*.yml") for name in yaml.safe_load(path.read_text())
    ]
    assert sorted(names) == sorted(set(names))


SHOW = [
    {
        "hosts": "{{ groups['fleet_control'] | default([]) }}",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.debug": {"msg": "control {{ inventory_hostname }}."}}],
    },
    {
        "hosts": "{{ groups['fleet_schedulers'] | default([]) }}",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.debug": {"msg": "scheduler {{ inventory_hostname }}."}}],
    },
]


@pytest.mark.parametrize(
    ("groups", "options", "control", "schedulers"),
    [
        ({}, (), ["balanced1"], ["balanced1", "cpu1"]),
        ({}, ("--check",), ["balanced1"], ["balanced1", "cpu1"]),
        ({"clients": {"hosts": {"client1": None}}}, (), ["client1"], ["balanced1", "cpu1"]),
        ({"clients": {"hosts": {"client1": None}}}, ("--limit", "cpu1"), [], ["cpu1"]),
        ({"schedulers": {"hosts": {"memory1": None}}}, (), ["balanced1"], ["memory1"]),
    ],
)
def test_the_control_host_and_the_schedulers_are_groups_of_a_run(
    tmp_path, groups, options, control, schedulers
):
    inventory = Inventory(tmp_path)
    inventory.write("more.yml", groups or {"clients": {}})
    (tmp_path / "play.yml").write_text(yaml.safe_dump(SHOW))
    run = inventory.run(*options, playbooks=("parts/special_hosts.yml",))
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.findall(r"control (\w+)\.", run.stdout) == control
    assert sorted(re.findall(r"scheduler (\w+)\.", run.stdout)) == schedulers


def test_verbs_of_one_run_group_the_special_hosts_once(tmp_path):
    inventory = Inventory(tmp_path)
    (tmp_path / "play.yml").write_text(yaml.safe_dump(SHOW))
    run = inventory.run(playbooks=["parts/special_hosts.yml"] * 2)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("TASK [Group the control host]") == 1
    assert run.stdout.count("control balanced1.") == 1


@pytest.mark.parametrize(
    ("role", "tasks", "variable", "value"),
    [
        ("worker", "look", "worker_probation", "a while"),
        ("beat", "change", "beat_enabled", "perhaps"),
    ],
)
def test_a_bad_value_of_a_role_is_refused_before_a_host_changes(tmp_path, role, tasks, variable, value):
    play = {
        "hosts": "workers",
        "connection": "local",
        "gather_facts": False,
        "vars": {"app_release": "r1"},
        "tasks": [{"ansible.builtin.include_role": {"name": role, "tasks_from": tasks}}],
    }
    inventory = Inventory(tmp_path)
    (tmp_path / "play.yml").write_text(yaml.safe_dump([facts(processor_vcpus=16, memtotal_mb=65536), play]))
    run = inventory.run("-e", json.dumps({variable: value}))
    assert run.returncode != 0
    assert (
        re.findall(r"TASK \[([^]]+)\]", run.stdout)[-1] == f"{role} : validate | Check the role's variables"
    )
    assert f"argument '{variable}' is of type" in run.stdout + run.stderr
