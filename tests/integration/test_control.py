"""When a worker takes tasks: the stop, the control files, its proof, and a consumer that the broker lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fleet_site import Proxy, Site, Worker, temporary_site, wait_for

QUEUE = "general_background"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fleet without other workers."""
    with temporary_site(tmp_path_factory.mktemp("s")) as site:
        yield site


@pytest.fixture(autouse=True)
def alone(site: Site) -> Iterator[None]:
    """Let no worker of a test that failed take the tasks of the next."""
    yield
    for worker in site.workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


def _filled(site: Site, worker: Worker, label: str, monkeypatch: pytest.MonkeyPatch, running: int) -> None:
    """Let a worker run as many tasks as it can, with others waiting in it."""
    app = site.client(monkeypatch)
    for _ in range(21):
        app.send_task("hold", (label,), queue=QUEUE)
    wait_for(lambda: len(site.events(label)["start"]) == running, 15, "the start of tasks")
    wait_for(lambda: worker.state["reserved"] > 0, 5, "prefetched tasks")


@pytest.mark.parametrize("acknowledgement", ["late", "early"])
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_stop_gives_back_at_once_and_finishes_what_runs(
    site: Site, monkeypatch: pytest.MonkeyPatch, pool: str, acknowledgement: str
) -> None:
    label = f"stop-{pool}-{acknowledgement}"
    worker = site.worker(
        "general",
        *("--pool", pool, "--concurrency", "2", "--prefetch-multiplier", "4"),
        fleet_file=site.fleet_file(acknowledgement=acknowledgement),
    ).ready()
    try:
        _filled(site, worker, label, monkeypatch, 2)
        worker.process.terminate()
        wait_for(lambda: site.ready_messages(QUEUE) == 19, 6, "the tasks back in the queue")
        state = worker.reaches(state="stopping", reserved=0)
        assert [task["name"] for task in state["active"]] == ["hold"] * 2
        assert {task["queue"] for task in state["active"]} == {QUEUE}
        assert worker.systemd.count("STOPPING=1") == 1
        assert worker.process.poll() is None
        site.release(label)
        assert worker.process.wait(10) == 0
        events = site.events(label)
        assert (len(events["start"]), len(events["end"])) == (2, 2)
        # Both were acknowledged over the connection that stayed open.
        assert site.ready_messages(QUEUE) == 19
    finally:
        site.purge(QUEUE)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_control_files_rule_a_worker(site: Site, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    label = f"control-{pool}"
    worker = site.worker("general", "--pool", pool, "--concurrency", "1").ready()
    try:
        assert worker.reaches(state="consuming", slots=1, proved=True)["release"] == "1.0"
        _filled(site, worker, label, monkeypatch, 1)
        # More slots, at once.
        (worker.runtime / "concurrency").write_text("3")
        wait_for(lambda: len(site.events(label)["start"]) == 3, 10, "three tasks")
        worker.reaches(slots=3)
        # Fewer, without an end of what runs.
        (worker.runtime / "concurrency").write_text("1")
        worker.reaches(slots=1)
        assert len(worker.state["active"]) == 3
        # None at all.
        (worker.runtime / "paused").touch()
        worker.reaches(state="paused", reserved=0)
        wait_for(lambda: site.ready_messages(QUEUE) == 18, 5, "the tasks back in the queue")
        site.release(label)
        worker.reaches(active=[], executed=3, failed=0)
        assert len(site.events(label)["end"]) == 3
        # And again.
        (worker.runtime / "concurrency").unlink()
        (worker.runtime / "paused").unlink()
        wait_for(lambda: len(site.events(label)["end"]) == 21, 20, "the rest")
        worker.reaches(state="consuming", executed=21, active=[])
        assert worker.stop() == 0
    finally:
        site.purge(QUEUE)


def test_a_worker_waits_for_the_room_of_another(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = {"CELERY_FLEET_ROLLOVER": "wait", "CELERY_FLEET_CONCURRENCY": "2"}
    arguments = ("--pool", "prefork", "--concurrency", "2")
    old = site.worker("general", *arguments).ready()
    app = site.client(monkeypatch)
    for label in ("old-1", "old-2"):
        app.send_task("hold", (label,), queue=QUEUE)
    wait_for(lambda: len(old.state["active"]) == 2, 10, "two tasks")
    old.process.terminate()
    new = site.worker("general", *arguments, environment=wait).ready()
    state = new.reaches(state="paused", slots=0)
    assert state["obstacle"] == "no slot is free"
    for label in ("new-1", "new-2"):
        app.send_task("hold", (label,), queue=QUEUE)
    site.release("old-1")
    new.reaches(state="consuming", slots=1)
    wait_for(lambda: len(new.state["active"]) == 1, 10, "a task in the room that is left")
    site.release("old-2")
    assert old.process.wait(10) == 0
    new.reaches(slots=2)
    wait_for(lambda: len(new.state["active"]) == 2, 10, "two tasks")
    site.release("new-1")
    site.release("new-2")
    assert new.stop() == 0


def test_a_worker_whose_pool_runs_nothing_takes_no_task(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.client(monkeypatch).send_task("work", ("unproved",), queue=QUEUE)
    try:
        for pool in ("prefork", "threads"):
            worker = site.worker(
                "general", "--pool", pool, "--concurrency", "1", environment={"TEST_BROKEN": "1"}
            )
            assert worker.process.wait(60) not in (None, 0)
            assert "did not run its canary" in worker.log.read_text()
            assert worker.systemd.count("READY=1") == 0
            assert not worker.state["proved"]
        assert site.events("unproved")["start"] == []
        assert site.ready_messages(QUEUE) == 1
    finally:
        site.purge(QUEUE)


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_lost_consumer_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    worker = site.worker("memory", "--pool", pool, "--concurrency", "1").ready()
    queue = "memory_aggregations"
    definition = site.management.call("GET", "queues", site.vhost, queue)
    binding = next(
        each
        for each in site.management.call("GET", "queues", site.vhost, queue, "bindings")
        if each["source"]
    )
    site.management.call("DELETE", "queues", site.vhost, queue)
    wait_for(lambda: worker.state["restarts_lost_consumer"] >= 1, 30, "the loss")
    site.management.call("PUT", "queues", site.vhost, queue, durable=True, arguments=definition["arguments"])
    site.management.call(
        "POST",
        *("bindings", site.vhost, "e", binding["source"], "q", queue),
        routing_key=binding["routing_key"],
    )
    site.client(monkeypatch).send_task("work", (f"mended-{pool}",), queue=queue)
    wait_for(lambda: site.events(f"mended-{pool}")["end"], 30, "the task in the queue that was made again")
    worker.reaches(state="consuming")
    assert worker.stop() == 0


def test_control_works_without_a_broker(site: Site) -> None:
    proxy = Proxy(*site.address)
    worker = site.worker(
        "io", "--pool", "prefork", "--concurrency", "1", fleet_file=site.fleet_file(proxy.address)
    )
    worker.reaches(20, state="waiting", slots=1)
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
