from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ConsumerCancelled

from celery_fleet.worker import consumer
from celery_fleet.worker.consumer import CHECK_INTERVAL, FleetConsumer


class Broker:
    """What a worker sees of its two queues."""

    def __init__(self) -> None:
        self.consumers, self.messages, self.asked = 2, 0, 0

    def queue_declare(self, _queue: str, passive: bool) -> SimpleNamespace:
        assert passive
        self.asked += 1
        return SimpleNamespace(consumer_count=self.consumers, message_count=self.messages)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def worker(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Any:
    worker = SimpleNamespace(
        gate=SimpleNamespace(running=[], waiting=0),
        task_consumer=SimpleNamespace(
            channel=broker,
            queues=[SimpleNamespace(name="one"), SimpleNamespace(name="two")],
            queues_by_tag={"1": "one", "2": "two"},
        ),
        _next_check=0.0,
        _suspicions=0,
        now=1000.0,
    )
    monkeypatch.setattr(consumer.time, "monotonic", lambda: worker.now)
    return worker


def look(worker: Any) -> None:
    FleetConsumer._look_for_consumer(worker)
    worker.now += CHECK_INTERVAL


def test_a_worker_with_its_consumer_goes_on(worker: Any, broker: Broker) -> None:
    for _ in range(3):
        look(worker)
    assert broker.asked == 6
    worker.now -= CHECK_INTERVAL
    look(worker)
    assert broker.asked == 6


def test_a_queue_without_any_consumer_is_enough(worker: Any, broker: Broker) -> None:
    broker.consumers = 0
    with pytest.raises(ConsumerCancelled):
        look(worker)


def test_a_queue_that_it_does_not_consume_is_enough(worker: Any) -> None:
    del worker.task_consumer.queues_by_tag["2"]
    with pytest.raises(ConsumerCancelled):
        look(worker)


def test_a_backlog_is_suspicious_only_if_nothing_is_started(worker: Any, broker: Broker) -> None:
    """Others may consume the queue, too."""
    broker.messages = 5
    look(worker)
    worker.gate.running = ["a task"]
    look(worker)
    worker.gate.running = []
    look(worker)
    with pytest.raises(ConsumerCancelled):
        look(worker)
