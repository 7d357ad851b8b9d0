from __future__ import annotations

import itertools
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from amqp.exceptions import AccessRefused
from kombu import Connection
from support.fleet_files import document
from support.vhost import START, Proxy, Vhost, Worker, wait_for

import celery_fleet
from celery_fleet.operator.verify import PUBLISH_PATIENCE

# How often the connection is lost under load.
LOSSES = 8


def _ended(vhost: Vhost, label: str, seconds: float = 60) -> dict[str, list[tuple[float, int]]]:
    wait_for(lambda: vhost.events(label)["end"], seconds, f"the end of {label}")
    return vhost.events(label)


def test_workers_are_ready_without_the_right_to_declare(vhost: Vhost, fleet: dict[str, Worker]) -> None:
    for pool, worker in fleet.items():
        ready = next(message for _, message in worker.systemd.messages if "READY=1" in message)
        assert "STATUS=Consuming: 0 active, 0 reserved" in ready
        log = worker.log.read_text()
        assert "ACCESS_REFUSED" not in log
        assert "delayed delivery" not in log.lower()
        assert vhost.password(f"worker_{pool}") not in log


@pytest.mark.minors
def test_every_queue_is_served_by_its_pool(vhost: Vhost, fleet: dict[str, Worker]) -> None:
    result = vhost.command("verify", "--timeout", "20")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    pools = document()["pools"]
    expected = {queue: pool for pool in pools for queue in pools[pool]["queues"]}
    assert {answer["queue"]: answer["pool"] for answer in report["answers"]} == expected
    assert report["missing"] == []
    for answer in report["answers"]:
        assert answer["fault"] is None
        assert answer["node"].startswith(f"{answer['pool']}_worker@")
        assert answer["host"] == os.uname().nodename
        assert 0 < answer["milliseconds"] < 10_000
        assert answer["queue"] in result.stderr


def test_only_one_verification_at_a_time(vhost: Vhost, fleet: dict[str, Worker]) -> None:
    password = vhost.password("verify")
    url = f"amqp://{vhost.user('verify')}:{password}@{vhost.management.host}:5672/{vhost.name}"
    with Connection(url) as connection:
        connection.channel().basic_consume("fleet_verify", exclusive=True)
        result = vhost.command("verify")
    assert result.returncode == 2
    assert "another verification is running" in result.stderr
    assert result.stdout == ""


def test_the_control_plane_works_and_shows_no_password(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = vhost.client(monkeypatch, pool="general").control.inspect(timeout=3)
    stats = inspect.stats()
    assert {node.split("_")[0] for node in stats} == set(fleet)
    for node, figures in stats.items():
        pool = document()["pools"][node.split("_")[0]]
        assert figures["prefetch_count"] == figures["pool"]["max-concurrency"] * pool["prefetch_multiplier"]
    shown = json.dumps(stats) + json.dumps(inspect.conf())
    for path in vhost.secrets.iterdir():
        assert path.read_text() not in shown


def test_an_operator_asks_workers_as_celery_inspect_does(vhost: Vhost, fleet: dict[str, Worker]) -> None:
    nodes = {f"{worker.log.stem}@{os.uname().nodename}" for worker in fleet.values()}
    # It ends when all that are named have answered.
    named = ("--json", "--timeout", "60", "--destination", ",".join(nodes))
    answers = {}
    for question in ("active", "active_queues", "stats"):
        run = vhost.command("inspect", question, *named, pool="general")
        assert run.returncode == 0, run.stderr
        answers[question] = json.loads(run.stdout)
        assert answers[question].keys() == nodes
    queues = {queue["name"] for answer in answers["active_queues"].values() for queue in answer}
    assert queues == {queue for pool in document()["pools"].values() for queue in pool["queues"]}
    silent = vhost.command("inspect", "ping", "--destination", "nobody@nowhere", pool="general")
    assert silent.returncode == 69 and "No nodes replied" in silent.stderr


@pytest.mark.minors
def test_a_delayed_task_is_late_and_holds_no_slot(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch)
    sent = time.time()
    for _ in range(5):
        app.send_task("work", ("delayed",), queue="memory_aggregations", countdown=4)
    app.send_task("work", ("immediate",), queue="memory_aggregations")
    immediate = _ended(vhost, "immediate")["end"][0][0]
    wait_for(lambda: len(vhost.events("delayed")["end"]) == 5, 60, "the delayed tasks")
    delayed = min(at for at, _ in vhost.events("delayed")["start"])
    assert delayed - sent >= 3.9
    assert immediate < delayed


def test_a_delay_of_less_than_a_second_is_not_refused(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch)
    sent = time.time()
    app.send_task("work", ("short",), queue="io_api_calls", countdown=0.5)
    app.send_task("work", ("soon",), queue="io_api_calls", eta=app.now() + timedelta(seconds=1.001))
    app.send_task("work", ("past",), queue="io_api_calls", eta=app.now() - timedelta(seconds=1))
    _ended(vhost, "past")
    assert _ended(vhost, "short")["start"][0][0] - sent >= 0.5
    assert _ended(vhost, "soon")["start"][0][0] - sent >= 1


@pytest.mark.minors
def test_a_task_retries_by_its_own_rights(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a delivery that came through the exchanges of the delay, at once and delayed."""
    app = vhost.client(monkeypatch)
    app.send_task("again", ("retried", [1, 0, 0.5]), queue="io_api_calls", countdown=1)
    events = _ended(vhost, "retried")
    assert len(events["start"]) == 4


@pytest.mark.minors
@pytest.mark.parametrize("countdowns", [[2, 1], [4, 1], [2, 2]])
def test_a_task_is_delayed_again_after_an_even_delay(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch, countdowns: list[float]
) -> None:
    """It is delivered from another exchange than after an odd one."""
    label = f"delayed-{countdowns}"
    vhost.client(monkeypatch).send_task("again", (label, countdowns), queue="io_api_calls")
    assert len(_ended(vhost, label)["start"]) == 3
    assert vhost.ready_messages("io_tasks_dead") == 0


@pytest.mark.minors
def test_a_killed_child_loses_nothing(
    vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    vhost.client(monkeypatch).send_task("work", ("killed", 2), queue="cpu_ml_training")
    (_, child), *_ = wait_for(lambda: vhost.events("killed")["start"], 60, "the start of the task")
    assert child != fleet["cpu"].process.pid
    os.kill(child, signal.SIGKILL)
    events = _ended(vhost, "killed")
    assert len(events["start"]) == 2
    assert events["end"][0][1] != child


def test_a_stuck_worker_falls_silent(vhost: Vhost) -> None:
    worker = vhost.worker("general", "--pool", "threads", "--concurrency", "1", watchdog=1.5).ready()
    since = time.monotonic()
    wait_for(lambda: worker.systemd.count("WATCHDOG=1", since) >= 3, 60, "signs of life")
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    since = time.monotonic()
    time.sleep(2)
    assert worker.systemd.count("", since) == 0
    worker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: worker.systemd.count("WATCHDOG=1", since), 60, "signs of life again")
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_stop_waits_for_the_running_task(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    queue = "general_background"
    label = f"stopped-{pool}"
    others = [worker for worker in vhost.workers if worker.process.poll() is None]
    worker = vhost.worker("general", "--pool", pool, "--concurrency", "1", watchdog=1.5).ready()
    # Any worker of the pool may take it; the one that stops must be the one that does.
    for other in others:
        other.process.send_signal(signal.SIGSTOP)
    try:
        app = vhost.client(monkeypatch)
        for _ in range(8):
            app.send_task("work", (label, 2.5), queue=queue)
        wait_for(lambda: worker.systemd.count("STATUS=Consuming: 1 active"), 60, "the start of a task")
        since = time.monotonic()
        assert worker.stop() == 0
        started = len(vhost.events(label)["start"])
        assert len(vhost.events(label)["end"]) == started
        assert worker.systemd.count("STOPPING=1", since) == 1
        assert worker.systemd.count("STATUS=Stopping: 1 active", since) >= 1
    finally:
        for other in others:
            other.process.send_signal(signal.SIGCONT)
        vhost.management.call("DELETE", "queues", vhost.name, queue, "contents")


@pytest.fixture
def proxy(vhost: Vhost) -> Iterator[Proxy]:
    proxy = Proxy(*vhost.address)
    yield proxy
    proxy.down()


@pytest.mark.minors
def test_a_worker_waits_for_its_broker(vhost: Vhost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = vhost.worker(
        "io",
        "--pool",
        "prefork",
        "--concurrency",
        "1",
        fleet_file=vhost.fleet_file(proxy.address),
        watchdog=6,
    )
    # Its broker is down while it starts.
    wait_for(lambda: worker.systemd.count("EXTEND_TIMEOUT_USEC=60000000") >= 2, 60, "more time to start")
    assert worker.systemd.count("READY=1") == 0
    proxy.up()
    worker.ready()
    # It goes away, and comes back.
    proxy.down()
    since = time.monotonic()
    wait_for(lambda: worker.systemd.count("STATUS=Waiting for the broker", since) >= 3, 60, "its waiting")
    assert worker.process.poll() is None
    assert worker.systemd.count("EXTEND_TIMEOUT_USEC", since) == 0
    proxy.up()
    wait_for(lambda: worker.systemd.count("READY=1", since), 60, "its return")
    times = [at for at, message in worker.systemd.messages if "WATCHDOG=1" in message]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 6
    assert worker.stop() == 0


def test_no_slot_is_lost_with_a_connection(
    vhost: Vhost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is lost between two tasks: what was just given to a process ends like every other."""
    proxy.up()
    fleet_file = vhost.fleet_file(proxy.address)
    worker = vhost.worker("cpu", "--pool", "prefork", "--concurrency", "4", fleet_file=fleet_file).ready()
    app = vhost.client(monkeypatch)
    labels = [f"brief-{number}" for number in range(LOSSES * 100)]
    for number, label in enumerate(labels, 1):
        app.send_task("work", (label,), queue="cpu_data_analysis")
        if number % 100 == 0:
            since = time.monotonic()
            proxy.down()
            proxy.up()
            wait_for(lambda since=since: worker.systemd.count("READY=1", since), 60, "its return")
    wait_for(lambda: vhost.ready_messages("cpu_data_analysis") == 0, 60, "an empty queue")
    # The state is a second old, and one of the last tasks may have begun since.
    wait_for(
        lambda: {mark["label"] for mark in vhost.marks() if mark["event"] == "end"} >= set(labels),
        60,
        "the end of every task",
    )
    worker.reaches(active=[], reserved=0)
    assert worker.stop() == 0


def test_a_worker_does_not_wait_for_the_control_queue_of_its_lost_connection(vhost: Vhost) -> None:
    """Which the broker keeps as long as a node is gone, where it has Khepri."""
    name, host = f"io_worker_{uuid.uuid4().int % 10**6}", os.uname().nodename
    with Connection(vhost.admin_url) as lost:
        lost.channel().queue_declare(f"{name}@{host}.celery.pidbox", exclusive=True)
        worker = vhost.worker("io", "--pool", "prefork", "--concurrency", "1", name=name).ready()
        assert worker.systemd.count("RESOURCE_LOCKED") == 0
        queues = vhost.management.call("GET", "queues", vhost.name)
        own = [each["name"] for each in queues if each["name"].startswith(f"{name}@{host}.")]
        assert len(own) == 2
        assert all(each.endswith(".celery.pidbox") for each in own)
    assert worker.stop() == 0


def test_a_worker_that_waits_for_its_broker_can_be_stopped(vhost: Vhost, proxy: Proxy) -> None:
    worker = vhost.worker(
        "io", "--pool", "prefork", "--concurrency", "1", fleet_file=vhost.fleet_file(proxy.address)
    )
    wait_for(lambda: worker.systemd.count("STATUS=Waiting for the broker"), START, "its waiting")
    worker.stop()
    assert worker.systemd.count("READY=1") == 0


def test_a_worker_may_not_declare(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    app = vhost.client(monkeypatch, pool="general")
    with app.connection_for_write() as connection, pytest.raises(AccessRefused):
        connection.channel().queue_declare("cpu_ml_training", durable=True)


def test_an_idle_worker_keeps_its_consumer(fleet: dict[str, Worker]) -> None:
    """It looks now and then whether the broker still knows it, for which its rights must do."""
    for worker in fleet.values():
        assert worker.state["restarts_lost_consumer"] == 0
        assert worker.systemd.count("READY=1") == 1
        assert "ACCESS_REFUSED" not in worker.log.read_text()


@pytest.fixture
def silent(vhost: Vhost, fleet: dict[str, Worker]) -> Iterator[list[str]]:
    """Queues of a pool whose worker is stopped."""
    assert fleet["memory"].stop() == 0
    yield list(document()["pools"]["memory"]["queues"])
    if fleet["memory"].process.poll() is not None:
        fleet["memory"] = again(vhost)


def again(vhost: Vhost) -> Worker:
    return vhost.worker("memory", "--pool", "threads", "--concurrency", "1").ready()


def test_a_queue_without_a_worker_is_missed(vhost: Vhost, silent: list[str]) -> None:
    result = vhost.command("verify", "--timeout", "3")
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    assert report["missing"] == silent
    assert len(report["answers"]) == 8


def test_a_full_queue_is_waited_for(
    vhost: Vhost, fleet: dict[str, Worker], silent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full, other = silent
    before = vhost.ready_messages(other)
    vhost.policy(full, **{"max-length": 1, "overflow": "reject-publish"})
    app = vhost.client(monkeypatch, patience=0)
    with pytest.raises(celery_fleet.QueueFullError):
        for _ in range(10):
            app.send_task("work", ("filler",), queue=full)
    with ThreadPoolExecutor() as executor:
        running = executor.submit(vhost.command, "verify", "--timeout", "40")
        wait_for(lambda: vhost.ready_messages(other) > before, 60, "the canary of a queue with room")
        begun = time.monotonic()
        wait_for(lambda: time.monotonic() - begun > 2 * PUBLISH_PATIENCE, 60, "more attempts")
        assert not running.done()
        # In this order: without its limit the queue takes the canary at once, and a purge would take it out.
        vhost.purge(full)
        vhost.management.call("DELETE", "policies", vhost.name, full)
        fleet["memory"] = again(vhost)
        result = running.result()
    assert result.returncode == 0, result.stderr
