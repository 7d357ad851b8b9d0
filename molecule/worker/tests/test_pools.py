"""Workers on real hosts: what they run with, and what becomes of tasks when something breaks."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import MOLECULE, Site, serving

BROKER, FIRST, SECOND = "molecule-worker-broker", "molecule-worker-13", "molecule-worker-12"
PYTHON = "/opt/probe/current/venv/bin/python"
TRACES = "/var/lib/celery-fleet/traces"
AS_WORKER = "runuser -u celery-fleet --"

# They need both hosts, and the broker for themselves.
pytestmark = pytest.mark.xdist_group(FIRST)

Hosts = Callable[[str], Any]


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Await a condition, and give its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.3)
    return value


class Worker:
    """One pool's worker on one host, and a way to give it tasks that no other host gets.

    Parameters:
        host: the testinfra host.
        plan: the pool's plan there.
    """

    def __init__(self, host: Any, plan: dict[str, Any]) -> None:
        self.host = host
        self.plan = plan
        self.unit, self.node = serving(host, plan)

    def show(self, name: str) -> str:
        """Give a property of the unit."""
        return str(self.host.check_output(f"systemctl show --property={name} --value {self.unit}"))

    def send(self, seconds: float) -> str:
        """Publish a task to the pool's first queue, and give the file that it will write."""
        self.host.check_output(f"install -d -o celery-fleet -g celery-fleet {TRACES}")
        path = f"{TRACES}/{uuid.uuid4()}"
        queue = min(self.plan["queues"])
        send = f"apply_async(('{path}', {seconds}), queue='{queue}')"
        code = f"import probe; probe.app.tasks['probe.trace'].{send}"
        self.host.check_output(f'{AS_WORKER} {PYTHON} -c "{code}"')
        return path

    def trace(self, path: str) -> list[str]:
        """Give the lines that a task wrote so far."""
        return str(self.host.run(f"cat {path}").stdout).split()

    def begun(self, path: str) -> None:
        until(lambda: self.trace(path), 20, f"{path} is begun by {self.unit}")

    def ended(self, path: str, seconds: float) -> list[str]:
        until(lambda: "end" in self.trace(path), seconds, f"{path} is finished by {self.unit}")
        return self.trace(path)

    def active(self, seconds: float = 40) -> None:
        until(lambda: self.show("ActiveState") == "active", seconds, f"{self.unit} is active")

    def stopped(self) -> None:
        until(lambda: self.show("ActiveState") == "inactive", 20, f"{self.unit} is stopped")

    def children(self) -> list[int]:
        main = self.show("MainPID")
        return [int(pid) for pid in self.host.run(f"pgrep --parent {main}").stdout.split()]


@pytest.fixture(scope="module")
def workers(site: Site, host: Hosts) -> dict[tuple[str, str], Worker]:
    plans = site.variables("fleet_plan")
    return {
        (name, pool): Worker(host(name), plan)
        for name in (FIRST, SECOND)
        for pool, plan in plans[name]["fleet_plan"]["pools"].items()
    }


def stats(worker: Worker) -> dict[str, Any]:
    """Ask the running node itself."""
    celery = "/opt/probe/current/venv/bin/celery --app probe:app --quiet"
    node = worker.node
    # Only a pool's own user may ask its workers.
    pool = f"env CELERY_FLEET_POOL={worker.plan['name']}"
    answer = worker.host.check_output(
        f"{AS_WORKER} {pool} {celery} inspect stats --json --timeout 10 --destination {node}"
    )
    values: dict[str, Any] = json.loads(answer)[node]
    return values


def test_every_pool_of_the_plan_runs_with_its_figures(workers: dict[tuple[str, str], Worker]) -> None:
    assert {key: worker.show("ActiveState") for key, worker in workers.items()} == dict.fromkeys(
        workers, "active"
    )
    assert {pool for _, pool in workers} == {"io", "general", "cpu"}
    for worker in workers.values():
        plan, found = worker.plan, stats(worker)
        pool = found["pool"]
        assert pool["max-concurrency"] == plan["concurrency"], worker.unit
        assert found["prefetch_count"] == plan["prefetch_count"], worker.unit
        if plan["execution"] == "prefork":
            assert pool["timeouts"] == [plan["soft_time_limit"], plan["time_limit"]], worker.unit
            assert pool["max-tasks-per-child"] == plan["max_tasks_per_child"], worker.unit
            assert len(worker.children()) == plan["concurrency"]
        assert worker.show("Slice") == plan["slice"]
        assert worker.show("StatusText").startswith("Consuming")
        assert worker.host.check_output(f"systemctl is-enabled {worker.unit}") == "enabled"
        assert worker.show("User") == "celery-fleet"


def test_a_stop_lets_a_task_finish_and_a_killed_process_loses_none(
    workers: dict[tuple[str, str], Worker],
) -> None:
    stopped, victims = [workers[FIRST, "general"], workers[SECOND, "cpu"]], workers[FIRST, "io"]

    # Two workers are asked to stop while each runs a task of 40 seconds.
    long = [worker.send(40) for worker in stopped]
    begun = time.monotonic()
    for worker, path in zip(stopped, long, strict=True):
        worker.begun(path)
        worker.host.check_output(f"systemctl stop --no-block {worker.unit}")

    # Meanwhile the children of another pool are killed, one of them with a task.
    path = victims.send(6)
    victims.begun(path)
    main = victims.show("MainPID")
    victims.host.check_output(f"pkill --signal KILL --parent {main}")
    assert victims.ended(path, 40).count("begin") >= 2
    assert victims.show("MainPID") == main

    # Then its main process.
    path = victims.send(6)
    victims.begun(path)
    victims.host.check_output(f"kill -KILL {main}")
    assert victims.ended(path, 60).count("begin") >= 2
    victims.active()
    assert victims.show("MainPID") != main
    assert int(victims.show("NRestarts")) >= 1

    # The stopped workers finished what they ran, and nobody runs it again.
    for worker, path in zip(stopped, long, strict=True):
        assert worker.ended(path, 60) == ["begin", "end"]
        worker.stopped()
        assert worker.show("Result") == "success"
    assert time.monotonic() - begun > 39
    for worker in stopped:
        worker.host.check_output(f"systemctl start {worker.unit}")
    for worker, path in zip(stopped, long, strict=True):
        assert worker.ended(worker.send(0), 20) == ["begin", "end"]
        assert worker.trace(path) == ["begin", "end"]


@pytest.fixture
def broker(host: Hosts) -> Iterator[Any]:
    yield host(BROKER)
    host(BROKER).check_output("systemctl start rabbitmq-server")


def test_workers_wait_for_a_broker_that_is_down(workers: dict[tuple[str, str], Worker], broker: Any) -> None:
    running, starting = [workers[FIRST, "general"], workers[SECOND, "cpu"]], workers[FIRST, "io"]
    before = [(worker.show("MainPID"), worker.show("NRestarts")) for worker in running]
    broker.check_output("systemctl stop rabbitmq-server")
    down = time.monotonic()
    killed = starting.show("MainPID")
    starting.host.check_output(f"systemctl kill --signal=KILL --kill-whom=main {starting.unit}")
    until(
        lambda: (
            starting.show("MainPID") not in ("0", killed)
            and starting.show("StatusText").startswith("Waiting for the broker")
        ),
        30,
        "the new process waits",
    )
    main, restarts = starting.show("MainPID"), starting.show("NRestarts")

    # Longer than the watchdog (15 s) and a start (30 s) would give a worker that says nothing.
    until(lambda: time.monotonic() - down > 40, 60, "the outage")
    assert starting.show("ActiveState") == "activating"
    broker.check_output("systemctl start rabbitmq-server")
    starting.active(60)
    assert (starting.show("MainPID"), starting.show("NRestarts")) == (main, restarts)

    # Ready means that it consumes: the broker knows its consumer at that moment.
    listing = broker.check_output(
        "rabbitmqctl --quiet list_consumers --vhost celery_fleet queue_name --formatter json"
    )
    assert set(starting.plan["queues"]) <= {consumer["queue_name"] for consumer in json.loads(listing)}
    for worker in [*running, starting]:
        assert "end" in worker.ended(worker.send(0), 60)
    assert [(worker.show("MainPID"), worker.show("NRestarts")) for worker in running] == before


def test_a_pool_that_the_host_has_no_longer_is_stopped_and_removed(
    site: Site, workers: dict[tuple[str, str], Worker]
) -> None:
    kept, gone = workers[FIRST, "general"], workers[FIRST, "io"]
    without_io: dict[str, Any] = {"fleet_profiles": {"balanced_servers": {"pools": {"general": {}}}}}
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={site.inventory}",
            f"--limit={FIRST}",
            f"--extra-vars={json.dumps(without_io)}",
            str(MOLECULE / "worker" / "converge.yml"),
        ],
        cwd=MOLECULE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def files() -> list[str]:
        found = gone.host.check_output("find /etc/systemd/system -name 'celery-fleet-*' -printf '%f\n'")
        return sorted(found.split())

    # The other pool has the host's memory to itself now, so it got an instance of its own kind.
    kept = Worker(kept.host, kept.plan)
    left = sorted([kept.unit, kept.unit, kept.plan["slice"], "celery-fleet-prune.service"])
    until(lambda: files() == left, 30, "the unit and the slice of the other pool are gone")
    units = gone.host.check_output(
        "systemctl list-units --all --plain --no-legend 'celery-fleet-*'"
    ).splitlines()
    assert not [unit for unit in units if unit.startswith("celery-fleet-io")]
    assert kept.show("ActiveState") == "active"
    assert kept.host.run("pgrep --uid celery-fleet --full 'hostname io_worker'").rc == 1
