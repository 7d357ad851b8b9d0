"""When a worker takes tasks: the control files, its proof, and a consumer that the broker lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.vhost import START, Proxy, Vhost, temporary_vhost, wait_for

QUEUE = "general_background"
pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("s")) as vhost:
        yield vhost


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_control_files_rule_a_worker(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    label = f"control-{pool}"
    worker = vhost.worker("general", "--pool", pool, "--concurrency", "1").ready()
    try:
        assert worker.reaches(state="consuming", slots=1, proved=True)["release"] == "1.0"
        vhost.fill(worker, vhost.client(monkeypatch), QUEUE, label, 1)
        # More slots, at once.
        (worker.orders / "concurrency").write_text("3")
        wait_for(lambda: len(vhost.events(label)["start"]) == 3, 60, "three tasks")
        worker.reaches(slots=3)
        # Fewer, without an end of what runs.
        (worker.orders / "concurrency").write_text("1")
        worker.reaches(slots=1)
        assert len(worker.state["active"]) == 3
        # None at all.
        (worker.orders / "paused").touch()
        worker.reaches(state="paused", reserved=0)
        wait_for(lambda: vhost.ready_messages(QUEUE) == 18, 60, "the tasks back in the queue")
        vhost.release(label)
        worker.reaches(active=[], executed=3, failed=0)
        assert len(vhost.events(label)["end"]) == 3
        # And again.
        (worker.orders / "concurrency").unlink()
        (worker.orders / "paused").unlink()
        wait_for(lambda: len(vhost.events(label)["end"]) == 21, 60, "the rest")
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
    wait_for(lambda: len(old.state["active"]) == 2, 60, "two tasks")
    old.process.terminate()
    new = vhost.worker("general", *arguments, environment=wait).ready()
    state = new.reaches(state="paused", slots=0)
    assert state["obstacle"] == "no slot is free"
    for label in ("new-1", "new-2"):
        app.send_task("hold", (label,), queue=QUEUE)
    vhost.release("old-1")
    new.reaches(state="consuming", slots=1)
    wait_for(lambda: len(new.state["active"]) == 1, 60, "a task in the room that is left")
    vhost.release("old-2")
    assert old.process.wait(60) == 0
    new.reaches(slots=2)
    wait_for(lambda: len(new.state["active"]) == 2, 60, "two tasks")
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
    wait_for(lambda: worker.state["restarts_lost_consumer"] >= 1, 60, "the loss")
    vhost.management.call("PUT", "queues", vhost.name, queue, durable=True, arguments=definition["arguments"])
    vhost.management.call(
        "POST",
        *("bindings", vhost.name, "e", binding["source"], "q", queue),
        routing_key=binding["routing_key"],
    )
    vhost.client(monkeypatch).send_task("work", (f"mended-{pool}",), queue=queue)
    wait_for(lambda: vhost.events(f"mended-{pool}")["end"], 60, "the task in the queue that was made again")
    worker.reaches(state="consuming")
    assert worker.stop() == 0


def test_control_works_without_a_broker(vhost: Vhost) -> None:
    proxy = Proxy(*vhost.address)
    worker = vhost.worker(
        "io", "--pool", "prefork", "--concurrency", "1", fleet_file=vhost.fleet_file(proxy.address)
    )
    worker.reaches(START, state="waiting", slots=1)
    (worker.orders / "concurrency").write_text("2")
    (worker.orders / "paused").touch()
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
        wait_for(lambda label=label: vhost.events(label)["end"], 60, f"the end of {label}")
    small, large, after = (vhost.events(label)["end"][0][1] for label in ("small", "large", "after"))
    assert small == large != after
    worker.reaches(executed=3, failed=0)
    assert worker.stop() == 0
