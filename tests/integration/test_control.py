"""When a worker takes tasks: the stop, the control files, its proof, and a consumer that the broker lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.vhost import START, Proxy, Vhost, Worker, temporary_vhost, wait_for

QUEUE = "general_background"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("s")) as vhost:
        yield vhost


@pytest.fixture(autouse=True)
def alone(vhost: Vhost) -> Iterator[None]:
    """Let no worker of a test that failed take the tasks of the next."""
    yield
    for worker in vhost.workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


def _filled(vhost: Vhost, worker: Worker, label: str, monkeypatch: pytest.MonkeyPatch, running: int) -> None:
    """Let a worker run as many tasks as it can, with others waiting in it."""
    app = vhost.client(monkeypatch)
    for _ in range(21):
        app.send_task("hold", (label,), queue=QUEUE)
    wait_for(lambda: len(vhost.events(label)["start"]) == running, 15, "the start of tasks")
    wait_for(lambda: worker.state["reserved"] > 0, 5, "prefetched tasks")


@pytest.mark.parametrize(
    ("pool", "acknowledgement"),
    [("prefork", "late"), ("prefork", "early"), ("threads", "early"), ("gevent", "late")],
)
def test_a_stop_gives_back_at_once_and_finishes_what_runs(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str, acknowledgement: str
) -> None:
    label = f"stop-{pool}-{acknowledgement}"
    worker = vhost.worker(
        "general",
        *("--pool", pool, "--concurrency", "2", "--prefetch-multiplier", "4"),
        fleet_file=vhost.fleet_file(acknowledgement=acknowledgement),
    ).ready()
    try:
        _filled(vhost, worker, label, monkeypatch, 2)
        worker.process.terminate()
        wait_for(lambda: vhost.ready_messages(QUEUE) == 19, 6, "the tasks back in the queue")
        state = worker.reaches(state="stopping", reserved=0)
        assert [task["name"] for task in state["active"]] == ["hold"] * 2
        assert {task["queue"] for task in state["active"]} == {QUEUE}
        assert worker.systemd.count("STOPPING=1") == 1
        assert worker.process.poll() is None
        vhost.release(label)
        assert worker.process.wait(10) == 0
        events = vhost.events(label)
        assert (len(events["start"]), len(events["end"])) == (2, 2)
        # Both were acknowledged over the connection that stayed open.
        assert vhost.ready_messages(QUEUE) == 19
    finally:
        vhost.purge(QUEUE)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_stops_is_never_watched_again(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    """A sign of life would arm systemd's watchdog, which ends a task that runs on without a broker."""
    label = f"unwatched-{pool}"
    proxy = Proxy(*vhost.address).up()
    worker = vhost.worker(
        "general",
        *("--pool", pool, "--concurrency", "1"),
        fleet_file=vhost.fleet_file(proxy.address),
        watchdog=1.5,
    ).ready()
    try:
        vhost.client(monkeypatch).send_task("hold", (label,), queue=QUEUE)
        wait_for(lambda: worker.state["active"], 10, "the start of the task")
        worker.process.terminate()
        wait_for(lambda: worker.systemd.count("STOPPING=1"), 5, "the stop")
        began = worker.systemd.messages[-1][0]
        proxy.down()
        wait_for(lambda: "Connection to broker lost" in worker.log.read_text(), 10, "the loss")
        time.sleep(3)  # two periods of the watchdog
        assert worker.process.poll() is None
        vhost.release(label)
        assert worker.process.wait(15) == 0
        assert len(vhost.events(label)["end"]) == 1
        assert worker.systemd.count("WATCHDOG=1", began) == 0
    finally:
        proxy.down()
        vhost.purge(QUEUE)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_control_files_rule_a_worker(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    label = f"control-{pool}"
    worker = vhost.worker("general", "--pool", pool, "--concurrency", "1").ready()
    try:
        assert worker.reaches(state="consuming", slots=1, proved=True)["release"] == "1.0"
        _filled(vhost, worker, label, monkeypatch, 1)
        # More slots, at once.
        (worker.runtime / "concurrency").write_text("3")
        wait_for(lambda: len(vhost.events(label)["start"]) == 3, 10, "three tasks")
        worker.reaches(slots=3)
        # Fewer, without an end of what runs.
        (worker.runtime / "concurrency").write_text("1")
        worker.reaches(slots=1)
        assert len(worker.state["active"]) == 3
        # None at all.
        (worker.runtime / "paused").touch()
        worker.reaches(state="paused", reserved=0)
        wait_for(lambda: vhost.ready_messages(QUEUE) == 18, 5, "the tasks back in the queue")
        vhost.release(label)
        worker.reaches(active=[], executed=3, failed=0)
        assert len(vhost.events(label)["end"]) == 3
        # And again.
        (worker.runtime / "concurrency").unlink()
        (worker.runtime / "paused").unlink()
        wait_for(lambda: len(vhost.events(label)["end"]) == 21, 20, "the rest")
        worker.reaches(state="consuming", executed=21, active=[])
        assert worker.stop() == 0
    finally:
        vhost.purge(QUEUE)


def test_a_worker_waits_for_the_room_of_another(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = {"CELERY_FLEET_ROLLOVER": "wait"}
    arguments = ("--pool", "prefork", "--concurrency", "2")
    old = vhost.worker("general", *arguments).ready()
    app = vhost.client(monkeypatch)
    for label in ("old-1", "old-2"):
        app.send_task("hold", (label,), queue=QUEUE)
    wait_for(lambda: len(old.state["active"]) == 2, 10, "two tasks")
    old.process.terminate()
    new = vhost.worker("general", *arguments, environment=wait).ready()
    state = new.reaches(state="paused", slots=0)
    assert state["obstacle"] == "no slot is free"
    for label in ("new-1", "new-2"):
        app.send_task("hold", (label,), queue=QUEUE)
    vhost.release("old-1")
    new.reaches(state="consuming", slots=1)
    wait_for(lambda: len(new.state["active"]) == 1, 10, "a task in the room that is left")
    vhost.release("old-2")
    assert old.process.wait(10) == 0
    new.reaches(slots=2)
    wait_for(lambda: len(new.state["active"]) == 2, 10, "two tasks")
    vhost.release("new-1")
    vhost.release("new-2")
    assert new.stop() == 0


def test_a_worker_whose_pool_runs_nothing_takes_no_task(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    vhost.client(monkeypatch).send_task("work", ("unproved",), queue=QUEUE)
    try:
        workers = [
            vhost.worker("general", *("--pool", pool, "--concurrency", "1"), environment={"TEST_BROKEN": how})
            for pool, how in (("prefork", "crash"), ("threads", "silence"))
        ]
        for worker in workers:
            assert worker.process.wait(60) > 0
            assert "did not run its canary" in worker.log.read_text()
            assert worker.systemd.count("READY=1") == 0
            assert not worker.state["proved"]
        assert vhost.events("unproved")["start"] == []
        assert vhost.ready_messages(QUEUE) == 1
    finally:
        vhost.purge(QUEUE)


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_lost_consumer_is_noticed(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    worker = vhost.worker("memory", "--pool", pool, "--concurrency", "1").ready()
    queue = "memory_aggregations"
    definition = vhost.management.call("GET", "queues", vhost.name, queue)
    binding = next(
        each
        for each in vhost.management.call("GET", "queues", vhost.name, queue, "bindings")
        if each["source"]
    )
    vhost.management.call("DELETE", "queues", vhost.name, queue)
    wait_for(lambda: worker.state["restarts_lost_consumer"] >= 1, 30, "the loss")
    vhost.management.call("PUT", "queues", vhost.name, queue, durable=True, arguments=definition["arguments"])
    vhost.management.call(
        "POST",
        *("bindings", vhost.name, "e", binding["source"], "q", queue),
        routing_key=binding["routing_key"],
    )
    vhost.client(monkeypatch).send_task("work", (f"mended-{pool}",), queue=queue)
    wait_for(lambda: vhost.events(f"mended-{pool}")["end"], 30, "the task in the queue that was made again")
    worker.reaches(state="consuming")
    assert worker.stop() == 0


def test_control_works_without_a_broker(vhost: Vhost) -> None:
    proxy = Proxy(*vhost.address)
    worker = vhost.worker(
        "io", "--pool", "prefork", "--concurrency", "1", fleet_file=vhost.fleet_file(proxy.address)
    )
    worker.reaches(START, state="waiting", slots=1)
    (worker.runtime / "concurrency").write_text("2")
    (worker.runtime / "paused").touch()
    worker.reaches(state="waiting", slots=2)
    assert worker.state["obstacle"]
    proxy.up()
    try:
        worker.ready()  # also while it is paused
        worker.reaches(state="paused", slots=2, proved=True, obstacle="")
        assert worker.stop() == 0
    finally:
        proxy.down()


def test_a_process_that_grew_is_replaced_after_its_task(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = vhost.worker(
        "general", *("--pool", "prefork", "--concurrency", "1", "--max-memory-per-child", "200000")
    ).ready()
    app = vhost.client(monkeypatch)
    for label, mib in (("small", 1), ("large", 300), ("after", 1)):
        app.send_task("grow", (label, mib), queue=QUEUE)
        wait_for(lambda label=label: vhost.events(label)["end"], 15, f"the end of {label}")
    small, large, after = (vhost.events(label)["end"][0][1] for label in ("small", "large", "after"))
    assert small == large != after
    worker.reaches(executed=3, failed=0)
    assert worker.stop() == 0
