"""Everything on one small server: all pools at work as planned, and a Django project in place of the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.scenario import ROOT, Scenario, inspect, planned_node, serving

NAME = "single-1"
INVENTORY = ("-i", "molecule/single/inventory")
SHOP = "examples/django_shop"
POOLS = ["cpu", "general", "io", "memory"]
MIB = 2**20

CHORD = """
import sys
sys.path.insert(0, ".")
from celery import chord, signature
from demo.app import app
def told(queue):
    return signature("celery.accumulate", (queue,), {"index": -1}, app=app, queue=queue)
parts = [told(queue) for queue in ("cpu_data_analysis", "io_api_calls", "memory_aggregations")]
end = signature("celery.accumulate", ("general_background",), app=app, queue="general_background")
print(chord(parts, end).delay().get(60))
"""

LOGGED = """
import sys
sys.path.insert(0, ".")
from demo.app import app
app.send_task("celery.accumulate", task_id="logs-1", queue="io_api_calls").get(60)
"""

Host = Callable[[str], Any]


@pytest.fixture(scope="module")
def variables(scenario: Scenario) -> dict[str, Any]:
    return scenario.variables("worker_plan", "broker_memory_watermark", "fleet_reserve")[NAME]


@pytest.fixture(scope="module")
def plan(variables: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = variables["worker_plan"]
    return found


def test_every_queue_is_consumed_by_its_own_pool(host: Host, plan: dict[str, Any]) -> None:
    python = "/opt/demo/current/venv/bin/python"
    run = host(NAME).run(f"{python} -m celery_fleet verify --timeout 60")
    assert run.rc == 0, run.stdout + run.stderr
    nodes = {queue: pool["node"] for pool in plan["pools"].values() for queue in pool["queues"]}
    assert len(nodes) == 10
    answers = json.loads(run.stdout)["answers"]
    assert {answer["queue"]: planned_node(answer["node"]) for answer in answers} == nodes


def test_the_four_units_run(host: Host) -> None:
    units = host(NAME).check_output(
        "systemctl list-units --plain --no-legend --state=active 'celery-fleet-*@*.service'"
    )
    assert sorted(line.split("@")[0] for line in units.splitlines()) == [
        f"celery-fleet-{pool}" for pool in POOLS
    ]


@pytest.mark.parametrize("pool", POOLS)
def test_running_node_has_the_plan_s_figures(host: Host, plan: dict[str, Any], pool: str) -> None:
    planned = plan["pools"][pool]
    assert planned["concurrency"] >= 1
    [stats] = inspect(host(NAME), planned, "stats")
    assert stats["pool"]["max-concurrency"] == planned["concurrency"]
    assert len(stats["pool"]["processes"]) == planned["concurrency"]
    assert stats["prefetch_count"] == planned["prefetch_count"]
    assert stats["pool"]["max-tasks-per-child"] == planned["max_tasks_per_child"]
    assert stats["pool"]["timeouts"] == [planned["soft_time_limit"], planned["time_limit"]]


def test_the_broker_has_memory_that_no_pool_plans_with(host: Host, variables: dict[str, Any]) -> None:
    plan = variables["worker_plan"]
    total = plan["hardware"]["memory_mib"]
    # What RabbitMQ itself takes for its limit, in the memory that it sees.
    limit = int(host(NAME).check_output("rabbitmqctl --quiet eval 'vm_memory_monitor:get_memory_limit().'"))
    assert limit / MIB == pytest.approx(total * variables["broker_memory_watermark"], rel=0.01)
    pools = sum(pool["memory_max_mib"] for pool in plan["pools"].values())
    assert pools <= total * (1 - variables["fleet_reserve"]["memory"])
    system = total - pools - limit / MIB
    assert system >= total * 0.09


def _status(*options: str) -> tuple[int, str]:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", "playbooks/status.yml"),
            *(*INVENTORY, "-e", "status_output=json", *options),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "celery_fleet.kit.messages"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stdout


def test_results_are_kept_on_the_same_server(host: Host) -> None:
    """By Valkey as the kit runs it; the package's own server stays off, and a chord crosses the pools."""
    server, unit = host(NAME), "celery-fleet-results.service"
    score = server.check_output(f"systemd-analyze security --no-pager {unit}").splitlines()[-1]
    assert float(score.split(":")[1].split()[0]) <= 2.0
    assert server.run("systemctl is-enabled valkey-server").stdout.strip() == "masked"
    # Workers stop first, since they store what ends meanwhile.
    assert unit in server.check_output("systemctl show --property=After --value 'celery-fleet-io@*'")
    ended = server.check_output(
        "cd /opt/demo/current && runuser -u celery-fleet -- venv/bin/python -P -c %s", CHORD
    )
    assert ended == "[['cpu_data_analysis', 'io_api_calls', 'memory_aggregations'], 'general_background']"
    _, shown = _status()
    kept = json.loads(shown)["results"][NAME]
    assert (kept["answers"], kept["file"], kept["refused"]) == (True, "fine", 0)


def test_the_scheduler_sends_and_status_tells_of_it(host: Host) -> None:
    """One tick is two seconds after the other, and a pool that is stopped is a warning and a failure."""
    score = host(NAME).check_output("systemd-analyze security --no-pager celery-fleet-beat.service")
    assert float(score.splitlines()[-1].split(":")[1].split()[0]) <= 2.0
    rc, shown = _status()
    status = json.loads(shown)
    assert rc == 0 and status["fine"], status["warnings"]
    beat = status["beat"][NAME]
    assert (beat["role"], beat["last_tick"], beat["restarts"]) == ("active", "tidy", 0)
    assert beat["last_tick_s"] < 5
    assert [each["state"] for each in status["hosts"][NAME]["instances"]] == ["consuming"] * len(POOLS)
    assert len(status["queues"]) == 10
    [io] = [each["unit"] for each in status["hosts"][NAME]["instances"] if each["pool"] == "io"]
    host(NAME).check_output(f"systemctl stop {io}")
    try:
        rc, shown = _status()
        assert rc == 2 and any("io" in warning for warning in json.loads(shown)["warnings"])
    finally:
        host(NAME).check_output(f"systemctl start {io}")


def test_the_commands_of_guides_answer(host: Host, plan: dict[str, Any]) -> None:
    nodes = ",".join(serving(host(NAME), pool)[1] for pool in plan["pools"].values())
    asked = f"celery-fleet inspect active --json --timeout 60 --destination {nodes}"
    assert len(json.loads(host(NAME).check_output(asked))) == len(POOLS)
    lengths = host(NAME).check_output("rabbitmqctl --quiet list_queues --vhost celery_fleet name messages")
    queues = {queue for pool in plan["pools"].values() for queue in pool["queues"]}
    assert queues <= {line.split()[0] for line in lengths.splitlines()}


def test_logs_show_a_task_and_follow_what_comes(host: Host) -> None:
    """By its id: first what was logged of it, then its second run."""
    publish = ("cd /opt/demo/current && runuser -u celery-fleet -- venv/bin/python -P -c %s", LOGGED)
    host(NAME).check_output(*publish)
    command = [sys.executable, "-m", "ansible", "playbook", "playbooks/logs.yml", *INVENTORY]
    with subprocess.Popen(
        [*command, "-e", "logs_ids=logs-1", "-e", "logs_follow=true", "-e", "fleet_pool=io"],
        cwd=ROOT,
        # As the docs have it for a pipe.
        env={
            **os.environ,
            "ANSIBLE_STDOUT_CALLBACK": "celery_fleet.kit.messages",
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        # Whatever it waits for, its output then ends.
        guard = threading.Timer(300, run.kill)
        guard.start()
        try:
            assert run.stdout
            ends = (line for line in run.stdout if "celery.accumulate[logs-1] ended: SUCCESS" in line)
            assert f" {NAME}  io  " in next(ends)
            host(NAME).check_output(*publish)
            assert f" {NAME}  io  " in next(ends)
            run.send_signal(signal.SIGINT)
            run.wait()
        finally:
            run.kill()
            guard.cancel()


def test_a_django_project_takes_the_place_of_the_demo(host: Host) -> None:
    """A web process publishes and cancels as `www-data`, results come back, and its periodic task runs.

    It has the database and cache that it had before the fleet, of which its migrations are a hook.
    """
    site = f"{SHOP}/fleet/group_vars/all"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", *INVENTORY),
            *("-e", f"@{site}/app.yml", "-e", f"@{site}/secrets.yml"),
            *("examples/services.yml", "site.yml", f"{SHOP}/try.yml"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    units = host(NAME).check_output(
        "systemctl list-units --plain --no-legend --state=active 'celery-fleet-*@*.service'"
    )
    assert {line.split("@")[1].split("-")[0] for line in units.splitlines()} == {"shop"}
