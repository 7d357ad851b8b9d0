"""The whole fleet on the three profiles: what runs where, and that every task finds its way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.leaks import leaks, shown_secrets
from support.scenario import ROOT, Scenario, inspect, planned_node

CURRENT = "/opt/demo/current/venv/bin"

# The figures that sizing must find from facts alone.
CONCURRENCY = {
    "fleet-cpu": {"cpu": 12},
    "fleet-memory": {"memory": 4},
    "fleet-balanced": {"io": 50, "general": 10},
}

EXECUTED_BY = {
    "demo.tasks.cpu.train_model": "cpu_worker@fleet-cpu",
    "demo.tasks.cpu.process_video": "cpu_worker@fleet-cpu",
    "demo.tasks.cpu.analyze_dataset": "cpu_worker@fleet-cpu",
    "demo.tasks.io.call_external_api": "io_worker@fleet-balanced",
    "demo.tasks.io.upload_file": "io_worker@fleet-balanced",
    "demo.tasks.io.send_email": "io_worker@fleet-balanced",
    "demo.tasks.memory.aggregate_user_data": "memory_worker@fleet-memory",
    "demo.tasks.memory.import_large_csv": "memory_worker@fleet-memory",
}

Host = Callable[[str], Any]


@pytest.fixture(scope="module")
def plans(scenario: Scenario) -> dict[str, dict[str, Any]]:
    return {host: values["worker_plan"] for host, values in scenario.variables("worker_plan").items()}


def verify(host: Host, timeout: int) -> tuple[int, dict[str, Any]]:
    run = host("fleet-client").run(f"{CURRENT}/python -m celery_fleet verify --timeout {timeout}")
    assert run.rc in (0, 1), run.stderr
    return run.rc, json.loads(run.stdout)


def playbook(scenario: Scenario, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", "--inventory", str(scenario.inventory), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", CONCURRENCY)
def test_facts_alone_size_the_pools(plans: dict[str, dict[str, Any]], name: str) -> None:
    planned = {pool: figures["concurrency"] for pool, figures in plans[name]["pools"].items()}
    assert planned == CONCURRENCY[name]


@pytest.mark.parametrize(
    ("name", "pool"), [(name, pool) for name, pools in CONCURRENCY.items() for pool in pools]
)
def test_running_node_has_the_plan_s_figures(
    host: Host, plans: dict[str, dict[str, Any]], name: str, pool: str
) -> None:
    plan = plans[name]["pools"][pool]
    assert plan["node"] == f"{pool}_worker@{name}"
    stats, consumed = inspect(host(name), plan, "stats", "active_queues")
    assert stats["pool"]["max-concurrency"] == CONCURRENCY[name][pool]
    assert len(stats["pool"]["processes"]) == CONCURRENCY[name][pool]
    assert stats["prefetch_count"] == plan["prefetch_count"]
    assert stats["pool"]["max-tasks-per-child"] == plan["max_tasks_per_child"]
    assert stats["pool"]["timeouts"] == [plan["soft_time_limit"], plan["time_limit"]]
    assert {queue["name"] for queue in consumed} == set(plan["queues"])


def test_every_queue_is_consumed_by_its_own_pool(host: Host, plans: dict[str, dict[str, Any]]) -> None:
    code, result = verify(host, timeout=60)
    assert code == 0, result
    pools = {
        queue: figures["node"]
        for plan in plans.values()
        for figures in plan["pools"].values()
        for queue in figures["queues"]
    }
    assert len(pools) == 10
    assert {answer["queue"]: planned_node(answer["node"]) for answer in result["answers"]} == pools


def test_every_task_runs_where_it_belongs_however_it_is_published(scenario: Scenario, host: Host) -> None:
    run = playbook(scenario, "playbooks/demo.yml", "--extra-vars", "demo_each=1")
    assert run.returncode == 0, run.stdout + run.stderr

    sink = scenario.hostvars["fleet-client"]["ansible_host"]
    command = f"{CURRENT}/python -m demo.client --sink http://{sink}:8025 --each 2 --wait 60 --json"
    # As a web process publishes.
    report = json.loads(host("fleet-client").check_output(f"runuser -u www-data -- {command}"))
    assert report["missing"] == []
    assert report["misplaced"] == []
    ran = {(row["task"], row["way"], planned_node(row["node"])): row["count"] for row in report["rows"]}
    assert ran == {
        (task, way, node): 2 for task, node in EXECUTED_BY.items() for way in ("queue", "name", "hint")
    }


def test_verify_fails_when_a_pool_is_silent(scenario: Scenario, host: Host) -> None:
    balanced = host("fleet-balanced")
    unit = balanced.check_output(
        "systemctl list-units --plain --no-legend 'celery-fleet-general@*.service'"
    ).split()[0]
    try:
        balanced.check_output(f"systemctl stop {unit}")
        run = playbook(scenario, "playbooks/verify.yml", "--extra-vars", "verify_timeout=5")
    finally:
        balanced.check_output(f"systemctl start {unit}")
    assert run.returncode != 0
    for queue in ("general_background", "general_scheduled"):
        assert f"{queue}: no answer" in run.stdout

    # The canaries wait in their queues, and later runs are not confused by their late answers.
    code, result = verify(host, timeout=60)
    assert code == 0, result


def test_plan_knows_what_runs_and_what_another_figure_would_change(
    scenario: Scenario, tmp_path: Path
) -> None:
    def changes(*arguments: str) -> dict[str, Any]:
        output = tmp_path / "plan.json"
        run = playbook(scenario, "playbooks/plan.yml", "--extra-vars", f"plan_output={output}", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return {
            pool: change
            for host in json.loads(output.read_text())["hosts"]
            for pool, change in host["changes"].items()
        }

    now = changes()
    assert {pool: change["action"] for pool, change in now.items()} == dict.fromkeys(now, "keep")
    assert set(now) == {pool for pools in CONCURRENCY.values() for pool in pools}

    lower = changes("--extra-vars", json.dumps({"fleet_environment_pools": {"cpu": {"concurrency": 8}}}))
    assert {pool for pool, change in lower.items() if change["action"] != "keep"} == {"cpu"}
    assert lower["cpu"]["fields"]["concurrency"] == {"now": 12, "then": 8}


def test_broken_model_changes_no_host(scenario: Scenario, host: Host) -> None:
    before = host("fleet-cpu").check_output(
        "find /etc/systemd/system /etc/celery-fleet /opt -newermt @0 -printf '%p %T@\\n'"
    )
    broken = json.dumps(
        {"fleet_environment_pools": {"cpu": {"prefetch_multiplier": 16, "soft_time_limit": 9999}}}
    )
    run = playbook(scenario, "site.yml", "--extra-vars", broken)
    assert run.returncode != 0
    # All at once, with variable and value.
    for words in ("soft_time_limit = 9999", "prefetch_multiplier = 16", "remedy:"):
        assert words in run.stdout
    after = host("fleet-cpu").check_output(
        "find /etc/systemd/system /etc/celery-fleet /opt -newermt @0 -printf '%p %T@\\n'"
    )
    assert after == before


def test_no_secret_can_be_found_on_any_host(scenario: Scenario) -> None:
    assert {name: leaks(name, scenario.secrets) for name in scenario.hosts} == dict.fromkeys(
        scenario.hosts, ""
    )


def test_a_check_finds_nothing_to_change_a_change_concerns_its_pool_and_no_secret_is_shown(
    scenario: Scenario,
) -> None:
    """The most that Ansible can be made to say, of a check and of a run that has something to change."""

    def changed(*options: str) -> set[str]:
        run = playbook(scenario, "site.yml", "-vvv", "--diff", *options)
        assert run.returncode == 0, run.stdout[-4000:]
        assert shown_secrets(run.stdout + run.stderr, scenario.secrets) == []
        recap = [line for line in run.stdout.split("PLAY RECAP")[1].splitlines() if "changed=" in line]
        assert {host for host in scenario.hosts if any(host in line for line in recap)} == set(scenario.hosts)
        return {host for host in scenario.hosts for line in recap if host in line and "changed=0" not in line}

    assert changed("--check") == set()
    other = json.dumps({"fleet_environment_pools": {"cpu": {"max_tasks_per_child": 400}}})
    assert "fleet-cpu" in changed("--extra-vars", other)
