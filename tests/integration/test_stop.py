"""A worker that stops gives back what it has not begun, and finishes what it has."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.vhost import Proxy, Vhost, temporary_vhost, wait_for

QUEUE = "general_background"
pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("e")) as vhost:
        yield vhost


@pytest.mark.minors
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
        vhost.fill(worker, vhost.client(monkeypatch), QUEUE, label, 2)
        worker.process.terminate()
        wait_for(lambda: vhost.ready_messages(QUEUE) == 19, 60, "the tasks back in the queue")
        state = worker.reaches(state="stopping", reserved=0)
        assert [task["name"] for task in state["active"]] == ["hold"] * 2
        assert {task["queue"] for task in state["active"]} == {QUEUE}
        assert worker.systemd.count("STOPPING=1") == 1
        assert worker.process.poll() is None
        vhost.release(label)
        assert worker.process.wait(60) == 0
        events = vhost.events(label)
        assert (len(events["start"]), len(events["end"])) == (2, 2)
        # Both were acknowledged over the connection that stayed open.
        assert vhost.ready_messages(QUEUE) == 19
    finally:
        vhost.purge(QUEUE)


@pytest.mark.parametrize("pool", [pytest.param("prefork", marks=pytest.mark.minors), "threads"])
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
        wait_for(lambda: worker.state["active"], 60, "the start of the task")
        worker.process.terminate()
        wait_for(lambda: worker.systemd.count("STOPPING=1"), 60, "the stop")
        began = worker.systemd.messages[-1][0]
        proxy.down()
        wait_for(lambda: "Connection to broker lost" in worker.log.read_text(), 60, "the loss")
        time.sleep(3)  # two periods of the watchdog
        assert worker.process.poll() is None
        vhost.release(label)
        assert worker.process.wait(60) == 0
        assert len(vhost.events(label)["end"]) == 1
        assert worker.systemd.count("WATCHDOG=1", began) == 0
    finally:
        proxy.down()
        vhost.purge(QUEUE)
