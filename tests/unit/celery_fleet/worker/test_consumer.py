from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ConsumerCancelled, NotFound, RecoverableConnectionError
from celery.worker import state
from support.worker_parts import Channel, Clock, Connection, Manager, RunningTask

from celery_fleet.worker import readiness
from celery_fleet.worker.consumer import FleetConsumer
from celery_fleet.worker.consumption import CHECK_INTERVAL, RENEWAL_INTERVAL


@pytest.fixture(autouse=True)
def no_stop() -> Any:
    yield
    state.should_stop = None


def later(worker: FleetConsumer, clock: Clock, seconds: float = 1.0) -> None:
    clock.forward(seconds)
    worker.round()


def test_it_takes_no_task_before_its_pool_has_run_a_canary(worker: Any, clock: Clock) -> None:
    worker.on_ready()
    worker.round()
    assert not worker.task_consumer.allowed
    worker.pool.run_canary()
    worker.round()
    assert worker.task_consumer.allowed
    assert worker.task_consumer.channel.prefetch == [8]


def test_a_pool_that_never_answers_ends_the_process(
    worker: Any, clock: Clock, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    monkeypatch.setattr(readiness.os, "_exit", ended.append)
    monkeypatch.setattr(readiness.logging, "shutdown", lambda: None)
    worker.on_ready()
    worker.round()
    later(worker, clock, readiness.TIMEOUT - 1)
    assert ended == []
    later(worker, clock, 2)
    assert ended == [readiness.EX_FAILURE]


def test_a_pause_ends_the_consumption(consuming: Any, clock: Clock, manager: Manager, tmp_path: Path) -> None:
    consuming.instance = type(consuming.instance)(told=tmp_path)
    (tmp_path / "paused").touch()
    later(consuming, clock)
    assert not consuming.task_consumer.allowed
    (tmp_path / "paused").unlink()
    later(consuming, clock)
    assert consuming.task_consumer.allowed


@pytest.mark.parametrize(("slots", "prefetch"), [(5, 20), (20_000, 65_535)])
def test_another_number_of_slots_is_another_prefetch(
    consuming: Any, clock: Clock, manager: Manager, tmp_path: Path, slots: int, prefetch: int
) -> None:
    consuming.instance = type(consuming.instance)(told=tmp_path)
    (tmp_path / "concurrency").write_text(str(slots))
    later(consuming, clock)
    assert consuming.task_consumer.channel.prefetch == [8, prefetch]


def test_a_worker_with_its_consumer_goes_on(consuming: Any, clock: Clock) -> None:
    for _ in range(3):
        later(consuming, clock, CHECK_INTERVAL)
    asked = consuming.task_consumer.channel.asked
    assert asked == 6
    later(consuming, clock)
    assert consuming.task_consumer.channel.asked == asked


def test_a_queue_without_any_consumer_at_two_looks_is_enough(consuming: Any, clock: Clock) -> None:
    consuming.task_consumer.channel.consumers = 0
    later(consuming, clock, CHECK_INTERVAL)
    with pytest.raises(ConsumerCancelled):
        later(consuming, clock, CHECK_INTERVAL)


@pytest.mark.parametrize(
    ("nodes", "version", "busy", "renewed"),
    [
        (2, "4.3.6", False, 3),
        (2, "4.3.6", True, 0),
        (2, "4.2.9", False, 0),
        (1, "4.3.6", False, 0),
    ],
)
def test_an_idle_worker_asks_what_a_node_cannot_answer_that_is_cut_off(
    consuming: Any, clock: Clock, nodes: int, version: str, busy: bool, renewed: int
) -> None:
    fleet = consuming.app.amqp.fleet
    consuming.app.amqp.fleet = replace(
        fleet, broker=replace(fleet.broker, nodes=fleet.broker.nodes[:1] * nodes)
    )
    consuming.connection = Connection(version)
    if busy:
        consuming.gate._running.add(RunningTask())
    for _ in range(3):
        later(consuming, clock, RENEWAL_INTERVAL)
    assert consuming.task_consumer.renewed == renewed


def test_what_has_not_started_goes_back_without_a_failed_delivery(
    consuming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel()
    message = SimpleNamespace(channel=channel, delivery_tag=7)
    request = RunningTask()
    monkeypatch.setattr(request, "acknowledged", False, raising=False)
    monkeypatch.setattr(request, "revoked", lambda: False, raising=False)
    monkeypatch.setattr(request, "message", message)
    monkeypatch.setattr(consuming.gate, "withdraw", lambda: [request])
    consuming.consumption.give_back()
    assert (channel.returned, channel.rejected) == ([7], [])
    assert request.acknowledged


def test_a_slow_leader_s_answer_is_no_proof(consuming: Any, clock: Clock) -> None:
    """A quorum queue whose leader does not answer in time is said to have no message and no consumer."""
    channel = consuming.task_consumer.channel
    for consumers in (0, 2, 0, 2):
        channel.consumers = consumers
        later(consuming, clock, CHECK_INTERVAL)
    assert consuming.task_consumer.allowed


def test_a_queue_that_it_does_not_consume_is_enough(consuming: Any, clock: Clock) -> None:
    del consuming.task_consumer.queues_by_tag["2"]
    with pytest.raises(ConsumerCancelled):
        later(consuming, clock, CHECK_INTERVAL)


def test_a_backlog_is_suspicious_only_if_nothing_is_started(consuming: Any, clock: Clock) -> None:
    """Others may consume the queue, too."""
    consuming.task_consumer.channel.messages = 5
    later(consuming, clock, CHECK_INTERVAL)
    consuming.gate._running.add(RunningTask())
    later(consuming, clock, CHECK_INTERVAL)
    consuming.gate._running.clear()
    later(consuming, clock, CHECK_INTERVAL)
    with pytest.raises(ConsumerCancelled):
        later(consuming, clock, CHECK_INTERVAL)


@pytest.mark.parametrize("ready", [True, False])
def test_a_queue_that_is_gone_is_awaited_by_those_who_had_it(worker: Any, clock: Clock, ready: bool) -> None:
    def gone() -> None:
        raise NotFound("no queue")

    worker.condition.ready = ready
    worker.task_consumer.consume = gone
    worker.on_ready()
    worker.round()
    worker.pool.run_canary()
    if ready:
        with pytest.raises(RecoverableConnectionError):
            worker.round()
    else:
        worker.round()
        assert state.should_stop == readiness.EX_FAILURE == worker.controller.exitcode


def test_status_report_and_state_file_are_views_of_one_phase(
    make_worker: Any, clock: Clock, manager: Manager, tmp_path: Path
) -> None:
    worker: Any = make_worker()
    file = tmp_path / "state.json"

    def told() -> tuple[str, str]:
        clock.forward(11)
        worker.round()
        worker.report.write(at_once=True)
        return json.loads(file.read_text())["state"], worker.report.status()

    assert told() == ("starting", "Waiting for the broker")
    worker._note_obstacle(OSError("no route"))
    worker._round_without_broker()
    assert told() == ("waiting", "Waiting for the broker: no route")
    assert manager.received[-1].endswith("STATUS=Waiting for the broker: no route")
    worker.on_ready()
    worker.round()
    worker.pool.run_canary()
    worker.round()
    assert manager.received == ["READY=1\nWATCHDOG=1\nSTATUS=Consuming: 0 active, 0 reserved"]
    assert told() == ("consuming", "Consuming: 0 active, 0 reserved")
    orders = tmp_path / "orders" / str(tmp_path.stat().st_ino)
    orders.mkdir(parents=True)
    (orders / "paused").touch()
    assert told() == ("paused", "Paused: 0 active")
    assert manager.received[-1] == "WATCHDOG=1\nSTATUS=Paused: 0 active"
    worker.stopping.on_signal(signal.SIGTERM, None)
    assert told() == ("stopping", "Stopping: 0 active")


def test_it_is_ready_once_it_consumes_and_not_when_its_pool_is_proved(manager: Manager, worker: Any) -> None:
    worker.on_ready()
    worker.round()
    # As by a thread of the pool, between the round's look at the canary and its notification.
    worker.condition.proved = True
    worker.report.notify()
    assert manager.received == []
    worker._round_at_once()
    worker.round()
    assert manager.received == ["READY=1\nWATCHDOG=1\nSTATUS=Consuming: 0 active, 0 reserved"]


@pytest.mark.parametrize("lost_before", [True, False])
def test_a_worker_that_stops_gives_no_sign_of_life(
    consuming: Any, clock: Clock, manager: Manager, lost_before: bool
) -> None:
    """systemd would arm its watchdog again, which it switched off, and kill what still runs."""
    worker: Any = consuming
    ended = []
    stop = "STOPPING=1\nSTATUS=Stopping: 1 active\nWATCHDOG_USEC=0"
    worker.stopping._celery_handler = lambda: ended.append(True)
    worker.report.systemd = type(worker.report.systemd)(str(manager.path), 30.0)
    worker.gate._running.add(RunningTask())
    if lost_before:
        worker.consumption.forget()
    worker.stopping.on_signal(signal.SIGTERM, None)
    later(worker, clock)
    if not lost_before:
        assert manager.received == [stop]
        worker.consumption.forget()
    for _ in range(5):
        clock.forward(20)
        worker._note_obstacle(OSError("no broker"))
        worker._round_without_broker()
    worker.on_ready()
    for _ in range(5):
        later(worker, clock, 20)
    worker.report.notify()
    received = manager.received
    assert (stop in received) == lost_before
    assert not any("WATCHDOG=1" in message for message in received)
    assert ended == [True]


def test_it_ends_when_nothing_runs_any_more(consuming: Any, clock: Clock) -> None:
    ended = []
    consuming.stopping._celery_handler = lambda: ended.append(True)
    consuming.gate._running.add(RunningTask())
    consuming.stopping.on_signal(signal.SIGTERM, None)
    for _ in range(3):
        later(consuming, clock)
    assert not consuming.task_consumer.allowed
    assert ended == []
    consuming.gate._running.clear()
    later(consuming, clock)
    assert ended == []  # the last acknowledgement is on its way
    later(consuming, clock)
    assert ended == [True]


def test_a_task_whose_start_cannot_be_counted_runs_all_the_same(
    consuming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ValueError("no such figure")

    monkeypatch.setattr(consuming.report, "task_started", broken)
    monkeypatch.setattr(consuming.revocations, "mark", lambda _: None)
    monkeypatch.setattr(consuming.limits, "apply", lambda _: None)
    request = SimpleNamespace(execute_using_pool=lambda pool: (pool, "its job"))
    assert consuming._start_task(request) == (consuming.pool, "its job")
