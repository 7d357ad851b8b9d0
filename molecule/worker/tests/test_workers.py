"""Workers on real hosts: what they run with, what breaks and loses no task, and the verbs of the fleet."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fleet.host.names import user_of
from support.authority import Authority
from support.leaks import leaks
from support.scenario import MOLECULE, ROOT, Scenario, until
from support.workers import AS_WORKER, BROKER, FIRST, SECOND, Fleet, Hosts, Worker, serves

# Seconds of silence that converge.yml allows a worker, and that one start may take.
WATCHDOG = 15
HASTY = 12


@pytest.fixture(scope="module")
def workers(scenario: Scenario, host: Hosts) -> dict[tuple[str, str], Worker]:
    plans = scenario.variables("worker_plan")
    # No worker of these tests would start if it imported what a task can write.
    for name in (FIRST, SECOND):
        for module in ("probe", "celery_fleet", "kombu"):
            planted = f"/var/lib/celery-fleet/{module}.py"
            host(name).check_output(f"{AS_WORKER} sh -c \"echo 'raise SystemExit(1)' > {planted}\"")
    return {
        (name, pool): Worker(host(name), plan)
        for name in (FIRST, SECOND)
        for pool, plan in plans[name]["worker_plan"]["pools"].items()
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
            # The kernel kills a task's process, not the worker.
            scores = [f"/proc/{pid}/oom_score_adj" for pid in (worker.show("MainPID"), *worker.children())]
            main, *children = map(int, worker.host.check_output(f"cat {' '.join(scores)}").split())
            assert set(children) == {500} and main < 500, worker.unit
        assert worker.show("Slice") == plan["slice"]
        assert worker.show("StatusText").startswith("Consuming")
        assert worker.host.check_output(f"systemctl is-enabled {worker.unit}") == "enabled"
        assert worker.show("User") == user_of(plan["name"])


def test_a_reboot_waits_for_the_longest_task(scenario: Scenario, host: Hosts) -> None:
    for name, known in scenario.variables("worker_plan").items():
        if name in (FIRST, SECOND):
            timeout = known["worker_plan"]["shutdown_timeout"]
            shown = host(name).check_output("systemctl show --property=JobTimeoutUSec --value reboot.target")
            assert (
                f"Human: {shown}\n" in host(name).check_output(f"systemd-analyze timespan {timeout}s") + "\n"
            )


def test_a_compromised_task_reaches_no_further_than_its_pool(
    workers: dict[tuple[str, str], Worker],
) -> None:
    worker, other = workers[FIRST, "general"], workers[FIRST, "io"]
    root = worker.host.check_output
    runs, told = "/run/celery-fleet", "/run/celery-fleet-orders"

    # An order, which is there while the task tries to change it.
    ordered = worker.plan["concurrency"]
    path = "import sys; sys.path.insert(0, '/usr/local/lib/celery-fleet')"

    def as_root(expression: str) -> str:
        code = f"{path}; from fleet.host.machine import Machine; print(Machine().{expression})"
        return str(root(f'timeout 60 python3 -I -B -c "{code}"'))

    as_root(f"set_slots('{worker.unit}', {ordered})")
    orders = as_root(f"orders('{worker.unit}')")

    # Rights alone refuse it: units of containers may have no read-only file system.
    release, secrets, pool = "/opt/probe/current", "/etc/celery-fleet/secrets", other.plan["name"]
    main, their_home = int(other.show("MainPID")), f"/var/lib/{user_of(pool)}"
    their_unit = f"{runs}/{other.unit.removesuffix('.service')}"
    verdicts = worker.attempted(
        read_passwords_of_the_host=["read", "/etc/shadow"],
        read_secrets_of_the_application=["read", "/etc/celery-fleet/application/general.env"],
        read_what_commands_have=["read", "/etc/celery-fleet/command.conf"],
        write_an_order=["write", f"{orders}/concurrency"],
        write_another_order=["write", f"{orders}/paused"],
        make_orders=["make", f"{told}/x"],
        remove_an_order=["remove", f"{orders}/concurrency"],
        make_a_unit_s_directory=["make", f"{runs}/x"],
        write_code=["write", f"{release}/src/probe.py"],
        add_code=["write", f"{release}/src/sitecustomize.py"],
        lead_to_other_code=["remove", release],
        write_the_fleet=["write", "/etc/celery-fleet/fleet.json"],
        cancel_a_task=["write", "/etc/celery-fleet/revoked.json"],
        write_a_unit=["write", f"/etc/systemd/system/{worker.unit}"],
        write_the_program=["write", "/usr/local/lib/celery-fleet/fleet/host/prune.py"],
        signal_the_host=["signal", 1],
        # With one of these it would take another pool's tasks, or publish past what its pool calls.
        read_another_pool_s_password=["read", f"{secrets}/worker_{pool}"],
        replace_its_own_password=["write", f"{secrets}/worker_{worker.plan['name']}"],
        read_the_clients_password=["read", f"{secrets}/client"],
        read_the_clients_file=["read", "/etc/celery-fleet/fleet.json"],
        signal_another_pool=["signal", main],
        make_a_file_in_another_unit_s_directory=["make", f"{their_unit}/x"],
        remove_another_pool_s_report=["remove", f"{their_unit}/state.json"],
        read_another_pool_s_home=["read", f"{their_home}/remote-revoked.json"],
        make_a_file_in_another_pool_s_home=["make", f"{their_home}/x"],
    )
    assert set(verdicts.values()) <= {"EACCES", "EPERM", "EROFS"}, verdicts
    processes = worker.attempted(
        read_its_environment=["read", f"/proc/{main}/environ"],
        write_its_memory=["write", f"/proc/{main}/mem"],
        follow_its_root=["read", f"/proc/{main}/root/etc/hostname"],
    )
    # A sandbox may hide what is another user's.
    assert set(processes.values()) <= {"EACCES", "EPERM", "ENOENT"}, processes

    # What the docs say that pools share, and what a pool has for itself.
    home = f"/var/lib/{user_of(worker.plan['name'])}"
    within = worker.attempted(
        read_its_own_password=["read", f"{secrets}/worker_{worker.plan['name']}"],
        write_in_its_home=["write", f"{home}/notes"],
        write_what_pools_share=["write", other.send()],
        read_another_pool_s_report=["read", f"{their_unit}/state.json"],
    )
    assert set(within.values()) == {"done"}, within

    # Links and a pipe where root once wrote and still reads; the directory keeps the worker from it.
    mine = f"{runs}/{worker.unit.removesuffix('.service')}"
    until(
        lambda: worker.attempted(draft=["make", f"{mine}/.state.json"]) == {"draft": "done"},
        "the task has planted a directory",
        30,
    )
    planted = worker.attempted(
        gone=["remove", f"{mine}/state.json"],
        pipe=["pipe", f"{mine}/state.json"],
        pause=["link", f"{mine}/paused", "/etc/nologin"],
        slots=["link", f"{mine}/concurrency", "/etc/nologin"],
    )
    assert set(planted.values()) == {"done"}, planted
    try:
        assert as_root(f"state('{worker.unit}')") == "{}"
        assert as_root(f"state('{other.unit}').get('state')") == "consuming"
        as_root(f"pause('{worker.unit}', True)")
        as_root(f"pause('{worker.unit}', False)")
        assert as_root(f"slots('{worker.unit}')") == str(ordered)
        assert not worker.host.file("/etc/nologin").exists
    finally:
        root(f"rm -rf {mine}/.state.json {mine}/state.json {mine}/paused {mine}/concurrency {orders}")
    until(
        lambda: as_root(f"state('{worker.unit}').get('state')") == "consuming", "the worker reports again", 40
    )


def test_a_stop_lets_a_task_finish_and_a_killed_process_loses_none(
    workers: dict[tuple[str, str], Worker],
) -> None:
    stopped, victims = [workers[FIRST, "general"], workers[SECOND, "cpu"]], workers[FIRST, "io"]

    # Two workers are asked to stop while each runs a task.
    long = [worker.send(held=True) for worker in stopped]
    for worker, path in zip(stopped, long, strict=True):
        worker.begun(path)
        worker.host.check_output(f"systemctl stop --no-block {worker.unit}")

    # Meanwhile the children of another pool are killed, one of them with a task.
    path = victims.send(held=True)
    victims.begun(path)
    main = victims.show("MainPID")
    victims.host.check_output(f"pkill --signal KILL --parent {main}")
    victims.begun(path, times=2)
    victims.end(path)
    victims.ended(path)
    assert victims.show("MainPID") == main

    # Then its main process.
    path = victims.send(held=True)
    victims.begun(path)
    victims.host.check_output(f"kill -KILL {main}")
    victims.begun(path, times=2)
    victims.end(path)
    victims.ended(path)
    victims.active()
    assert victims.show("MainPID") != main
    assert int(victims.show("NRestarts")) >= 1

    # The stopped workers finished what they ran, and nobody runs it again.
    for worker, path in zip(stopped, long, strict=True):
        assert worker.show("ActiveState") == "deactivating"
        assert worker.trace(path) == ["begin"]
        worker.end(path)
        assert worker.ended(path) == ["begin", "end"]
        worker.stopped()
        assert worker.show("Result") == "success"
    for worker in stopped:
        worker.host.check_output(f"systemctl start {worker.unit}")
    for worker, path in zip(stopped, long, strict=True):
        assert worker.ended(worker.send()) == ["begin", "end"]
        assert worker.trace(path) == ["begin", "end"]


@pytest.fixture
def broker(host: Hosts) -> Iterator[Any]:
    yield host(BROKER)
    host(BROKER).check_output("systemctl start rabbitmq-server")


@pytest.fixture
def hasty(workers: dict[tuple[str, str], Worker]) -> Iterator[Worker]:
    """A worker whose next start may take a few seconds only."""
    worker = workers[FIRST, "io"]
    place = f"/run/systemd/system/{worker.unit}.d"
    limit = f"[Service]\\nTimeoutStartSec={HASTY}\\n"
    worker.host.check_output(
        f"mkdir -p {place} && printf '{limit}' >{place}/hasty.conf && systemctl daemon-reload"
    )
    yield worker
    worker.host.check_output(f"rm -r {place} && systemctl daemon-reload")


def test_workers_wait_for_a_broker_that_is_down(
    workers: dict[tuple[str, str], Worker], hasty: Worker, broker: Any
) -> None:
    running, starting = [workers[FIRST, "general"], workers[SECOND, "cpu"]], hasty
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
        "the new process waits",
        90,
    )
    main, restarts = starting.show("MainPID"), starting.show("NRestarts")
    began = time.monotonic()

    # Longer than the watchdog gives a worker that says nothing, and than a start may take.
    until(lambda: time.monotonic() > max(down + WATCHDOG, began + HASTY) + 2, "the outage", 90)
    assert starting.show("ActiveState") == "activating"
    broker.check_output("systemctl start rabbitmq-server")
    starting.active()
    assert (starting.show("MainPID"), starting.show("NRestarts")) == (main, restarts)

    # Ready means that it consumes: the broker knows its consumer at that moment.
    listing = broker.check_output(
        "rabbitmqctl --quiet list_consumers --vhost celery_fleet queue_name --formatter json"
    )
    assert set(starting.plan["queues"]) <= {consumer["queue_name"] for consumer in json.loads(listing)}
    for worker in [*running, starting]:
        assert "end" in worker.ended(worker.send())
    assert [(worker.show("MainPID"), worker.show("NRestarts")) for worker in running] == before


FIRST_LINE = "Tr0ub4dor&3 of io"
ODD = f"{FIRST_LINE}\n\\n 'single' \"double\" $HOME ${{X}} $(id) `id` \\ %d #no =a; ü 🦄\t\r\n\x01\x1b[0m \\"
OWN = "of the scheduler alone"
KEY = bytes(range(256)) * 4
SECRETS: dict[str, Any] = {
    "DATABASE_URL": {"value": ODD, "readers": ["io", "cpu"]},
    "KEY_FILE": {
        "value": base64.b64encode(KEY).decode(),
        "as": "file",
        "encoding": "base64",
        "readers": ["io", "cpu"],
    },
    "OWN": {"value": OWN, "readers": ["scheduler"]},
}


def test_a_secret_arrives_whole_at_its_readers_is_nowhere_else_and_replaces_no_other(
    workers: dict[tuple[str, str], Worker], fleet: Fleet
) -> None:
    host = fleet.host(FIRST)
    host.check_output("install -d -m 0755 /srv/kept")
    app = {
        "secrets": SECRETS,
        "files": {"/etc/probe/probe.ini": {"content": "[probe]\n", "readers": ["io", "cpu"]}},
        "ca_certificates": {"company": Authority("company").pem.decode()},
        "writable": {"/srv/probe/uploads": {}, "/srv/kept": {"mode": "0777"}},
    }
    said = fleet.run("deploy", app=app, options=["-vvv", "--diff"])
    shown = [text for text in (*ODD.splitlines(), OWN, base64.b64encode(KEY).decode()[:40]) if text in said]
    assert [text for text in shown if len(text) > 5] == []
    for name, pool in ((FIRST, "io"), (SECOND, "cpu")):
        reader = fleet.worker(name, pool)
        given = reader.given()
        assert given["DATABASE_URL"] == hashlib.sha256(ODD.encode()).hexdigest()
        assert given["KEY_FILE"] == hashlib.sha256(KEY).hexdigest()
        assert "OWN" not in given
        assert "$HOME" not in reader.host.check_output(f"systemctl show {reader.unit}")
    assert "DATABASE_URL" not in fleet.worker(FIRST, "general").given()
    assert host.file("/etc/celery-fleet/application").mode == 0o700
    assert host.file("/etc/probe/probe.ini").group == "celery-fleet"
    made = host.check_output("stat -c '%U %a' /srv/probe/uploads /srv/kept")
    assert made.splitlines() == ["celery-fleet 770", "root 777"]
    for name in (FIRST, SECOND):
        fleet.host(name).check_output(
            "openssl verify -CApath /etc/ssl/certs /etc/ssl/certs/probe-company.pem"
        )
        found = leaks(name, {"DATABASE_URL": FIRST_LINE, "OWN": OWN}).splitlines()
        # Its readers have it in their environment, which their own user may read.
        assert [line for line in found if not line.endswith("/environ holds DATABASE_URL")] == []

    # Another value replaces its readers, and nothing else.
    untouched, io = fleet.worker(FIRST, "general").unit, fleet.worker(FIRST, "io").unit
    other = {**SECRETS, "DATABASE_URL": {"value": "another", "readers": ["io", "cpu"]}}
    fleet.run("deploy", FIRST, app={**app, "secrets": other})
    assert fleet.worker(FIRST, "general").unit == untouched
    assert fleet.worker(FIRST, "io").unit != io
    assert fleet.worker(FIRST, "io").given()["DATABASE_URL"] == hashlib.sha256(b"another").hexdigest()


def of_an_earlier_kit(worker: Worker) -> None:
    """Make a worker, and the record of it, one of the time when all pools of a host had one Unix user."""
    pool = worker.plan["name"]
    script = (
        "s/^User=.*/User=celery-fleet/; s/^StateDirectory=.*/StateDirectory=celery-fleet/; "
        "s/^StateDirectoryMode=.*/StateDirectoryMode=0750/; s/^UMask=.*/UMask=0027/; "
        "s/worker[.]json/fleet.json/; /CELERY_FLEET_MEMORY/d"
    )
    files = f"/etc/systemd/system/{worker.unit} /etc/celery-fleet/units/*/{pool}.service"
    worker.host.check_output(f"sed -i '{script}' {files}")
    worker.host.check_output(f"systemctl daemon-reload && systemctl restart {worker.unit}")
    assert worker.show("User") == "celery-fleet"
    worker.host.check_output("chmod 0750 /var/lib/celery-fleet")


def test_a_deploy_waits_for_nothing_and_a_rollback_brings_back_what_ran(both: None, fleet: Fleet) -> None:
    old = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    # What it was deployed with does not matter: the other one is as this kit runs it.
    of_an_earlier_kit(old[0])
    long = [worker.send(held=True) for worker in old]
    for worker, path in zip(old, long, strict=True):
        worker.begun(path)
    fleet.run("deploy", code="# second\n", fleet_environment_pools={"general": {"rollover": "wait"}})
    new = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    # What the application has no longer is gone, though a rollback goes back to a unit that reads it.
    assert "DATABASE_URL" not in fleet.worker(FIRST, "io").given()
    gone = "/etc/probe/probe.ini /etc/celery-fleet/application/io-KEY_FILE /etc/ssl/certs/probe-company.pem"
    assert fleet.host(FIRST).run(f"ls {gone}").stdout == ""
    assert fleet.host(FIRST).file("/etc/celery-fleet/application/io.env").content == b""
    for before, after, path in zip(old, new, long, strict=True):
        assert before.unit != after.unit
        assert before.show("ActiveState") == "deactivating"
        assert before.trace(path) == ["begin"]
        assert after.show("User") == user_of(after.plan["name"])
        serves(after)
    # The old one goes on as its user, connects again if it must, and shares what it writes.
    first = old[0].host
    assert first.run("runuser -u celery-fleet -- cat /etc/celery-fleet/secrets/worker_general").rc == 0
    assert first.check_output("stat -c %a /var/lib/celery-fleet") == "770"
    slots = "import json,sys; print(json.load(open(sys.argv[1]))['slots'])"
    state = f"/run/celery-fleet/{new[0].unit.removesuffix('.service')}/state.json"

    def room() -> int:
        return int(new[0].host.check_output(f'python3 -c "{slots}" {state}'))

    assert room() == new[0].plan["concurrency"] - 1
    for before, after, path in zip(old, new, long, strict=True):
        before.end(path)
        assert before.ended(path) == ["begin", "end"]
        until(lambda b=before: b.unit not in fleet.files(FIRST) + fleet.files(SECOND), "the old is gone", 90)
        assert after.show("NRestarts") == "0"
    until(lambda: room() == new[0].plan["concurrency"], "the new one has all the room", 90)
    assert first.check_output(f"stat -c '%U %a' {long[0]}") == "celery-fleet 660"

    said = fleet.run("rollback")
    back = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    for before, after in zip(old, back, strict=True):
        release = before.unit.partition("@")[2].partition("_")[0]
        assert f"→ {release}" in said
        assert after.unit.rpartition("_")[0] == before.unit.rpartition("_")[0]
        serves(after)
    assert back[0].show("User") == "celery-fleet"
    assert first.check_output("stat -c %a /var/lib/celery-fleet") == "770"
    for name in (FIRST, SECOND):
        output = fleet.host(name).check_output(
            f"systemd-analyze security --threshold=20 --no-pager {fleet.files(name)[0]}"
        )
        assert "OK" in output
    # A unit that reads what the application has no longer is not what a deploy runs.
    fleet.run("deploy")
    for worker in (fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")):
        serves(worker)


def test_a_limit_of_one_pool_concerns_no_other(fleet: Fleet) -> None:
    general, io = fleet.worker(FIRST, "general"), fleet.worker(FIRST, "io")
    fleet.run("deploy", FIRST, fleet_environment_pools={"io": {"time_limit": 299}})
    assert fleet.worker(FIRST, "general").show("MainPID") == general.show("MainPID")
    assert fleet.worker(FIRST, "io").unit != io.unit
    restarted = fleet.worker(FIRST, "general").unit
    fleet.run("restart", FIRST, fleet_pool="general")
    assert fleet.worker(FIRST, "general").unit != restarted


def test_a_drain_shows_what_runs_and_holds_until_it_is_undone(fleet: Fleet) -> None:
    io, general = fleet.worker(FIRST, "io"), fleet.worker(FIRST, "general")
    path = io.send(held=True)
    io.begun(path)
    said = fleet.run("drain", FIRST, fleet_pool="io", drain_timeout=8, drain_reason="a new disk")
    assert len(re.findall(r"probe\.trace \[.+\] on .+, runs for \d+ s of at most \d+", said)) >= 2
    assert "after 8 s there still runs" in said
    fleet.run("deploy", FIRST)
    assert io.show("ActiveState") == "deactivating"
    # Beside the one that still finishes.
    fleet.run("undrain", FIRST)
    serves(fleet.worker(FIRST, "io"))
    assert io.trace(path) == ["begin"]
    # A drain waits for the tasks of every instance, also when the newest has none.
    beside = fleet.worker(FIRST, "io")
    with ThreadPoolExecutor() as executor:
        drain = executor.submit(fleet.run, "drain", FIRST, fleet_pool="io")
        try:
            until(lambda: beside.show("ActiveState") == "inactive", f"{beside.unit} is drained", 90)
            assert not drain.done()
            assert io.trace(path) == ["begin"]
        finally:
            io.end(path)
    drain.result()
    assert io.ended(path) == ["begin", "end"]
    assert general.show("ActiveState") == "active"
    # What a boot would do.
    drained = fleet.worker(FIRST, "io")
    drained.host.check_output(f"systemctl start {drained.unit}")
    assert drained.show("ActiveState") == "inactive"
    assert "a new disk" not in drained.host.check_output("cat /etc/celery-fleet/drained/io")
    fleet.run("undrain", FIRST)
    serves(fleet.worker(FIRST, "io"))


def test_concurrency_changes_while_tasks_run(fleet: Fleet) -> None:
    worker = fleet.worker(FIRST, "general")
    main, wanted = worker.show("MainPID"), worker.plan["concurrency"] - 1
    said = fleet.run("scale", FIRST, fleet_pool="general", scale_concurrency=wanted)
    assert "It lasts until the next deploy of general" in said
    until(lambda: len(worker.children()) == wanted, f"{wanted} children are left of {worker.unit}", 90)
    assert worker.show("MainPID") == main
    said = fleet.run("scale", FIRST, fails=True, fleet_pool="general", scale_concurrency=1000)
    assert "sizing/over-budget" in said
    assert len(worker.children()) == wanted


# The last two, since they take a pool away, and then all.
def test_a_pool_that_the_host_has_no_longer_is_stopped_and_removed(scenario: Scenario, fleet: Fleet) -> None:
    kept, gone = fleet.worker(FIRST, "general"), fleet.worker(FIRST, "io")
    without_io: dict[str, Any] = {"fleet_profiles": {"balanced_servers": {"pools": {"general": {}}}}}
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={scenario.inventory}",
            f"--limit={FIRST}",
            f"--extra-vars={json.dumps(without_io)}",
            str(MOLECULE / "worker" / "converge.yml"),
        ],
        cwd=ROOT,
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
    left = sorted([kept.unit, kept.unit, kept.plan["slice"]])
    until(lambda: files() == left, "the unit and the slice of the other pool are gone", 90)
    units = gone.host.check_output(
        "systemctl list-units --all --plain --no-legend 'celery-fleet-*'"
    ).splitlines()
    assert not [unit for unit in units if unit.startswith("celery-fleet-io")]
    assert kept.show("ActiveState") == "active"
    assert kept.host.run(f"pgrep --uid {user_of('io')}").rc == 1


def test_a_retired_host_keeps_nothing_of_the_fleet(fleet: Fleet) -> None:
    worker, host = fleet.worker(FIRST, "general"), fleet.host(FIRST)
    path = worker.send(held=True)
    worker.begun(path)
    said = fleet.run("retire", FIRST, fails=True, drain_timeout=2)
    assert f"Tasks still run on {FIRST}" in said
    assert worker.trace(path) == ["begin"]
    worker.end(path)
    fleet.run("retire", FIRST, drain_timeout=60)
    assert worker.trace(path) == ["begin", "end"]

    assert host.run("find /etc/systemd/system -name '*celery-fleet*'").stdout == ""
    assert host.run("systemctl list-units --all --plain --no-legend '*celery-fleet*'").stdout == ""
    assert host.run("pgrep --group celery-fleet").stdout == ""
    assert host.run("ls --directory /opt/probe /etc/celery-fleet").stdout == ""
    consumed = fleet.host(BROKER).check_output(
        "rabbitmqctl --quiet list_consumers --vhost celery_fleet queue_name --formatter json"
    )
    assert not set(worker.plan["queues"]) & {consumer["queue_name"] for consumer in json.loads(consumed)}
    assert "changed=0" in fleet.run("retire", FIRST)
