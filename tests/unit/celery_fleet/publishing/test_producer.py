from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ChannelError, MessageNacked
from kombu.exceptions import OperationalError

import celery_fleet
from celery_fleet.publishing import producer
from celery_fleet.publishing.producer import FleetProducer


class Channel:
    """As much of a channel as a producer needs, answering from a script."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.published = 0
        self.events: Any = defaultdict(set)
        self.connection = SimpleNamespace(client=None)

    def prepare_message(self, body: object, *_: object, **__: object) -> object:
        return body

    def basic_publish(self, message: object, exchange: str, routing_key: str, **_: object) -> None:
        self.published += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, ChannelError):
            for handler in list(self.events["basic_return"]):
                handler(answer, exchange, routing_key, message)
        elif answer is not None:
            raise answer


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("celery_fleet.publishing.producer.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize(("body", "size"), [("x" * 11, 11), ("ä" * 6, 12), (b"x" * 11, 11)])
def test_a_message_above_the_brokers_limit_names_both_sizes(body: str | bytes, size: int) -> None:
    channel = Channel()
    sender = FleetProducer(channel, largest=10)
    with pytest.raises(
        celery_fleet.MessageTooLargeError, match=f"{size} bytes.*takes 10 .*max_message"
    ) as error:
        sender.publish(body, serializer="raw", content_type="text/plain", content_encoding="utf-8")
    assert isinstance(error.value, OperationalError)
    assert channel.published == 0
    sender.publish(b"x" * 10, serializer="raw", content_type="text/plain", content_encoding="binary")
    assert channel.published == 1


def _publish(channel: Channel, patience: float = 20.0) -> None:
    producer = FleetProducer(channel, patience=patience)
    producer.publish("x", exchange="io_tasks", routing_key="io.api", mandatory=True)


def test_a_refused_message_is_tried_again_later(pauses: list[float]) -> None:
    channel = Channel(MessageNacked(), MessageNacked(), MessageNacked())
    _publish(channel)
    assert channel.published == 4
    assert [0.05 <= pauses[0] <= 0.1, 0.1 <= pauses[1] <= 0.2, 0.2 <= pauses[2] <= 0.4] == [True] * 3


def test_patience_ends_loudly(pauses: list[float]) -> None:
    channel = Channel(*[MessageNacked() for _ in range(100)])
    with pytest.raises(celery_fleet.QueueFullError, match=r"io_tasks with key io\.api is full") as caught:
        _publish(channel, patience=20.0)
    assert isinstance(caught.value, OperationalError)
    assert isinstance(caught.value.__cause__, MessageNacked)
    assert sum(pauses) == pytest.approx(20.0)
    assert max(pauses) <= producer.LONGEST_DELAY
    assert 8 <= channel.published <= 20


def test_no_patience_means_one_attempt(pauses: list[float]) -> None:
    channel = Channel(MessageNacked())
    with pytest.raises(celery_fleet.QueueFullError):
        _publish(channel, patience=0)
    assert channel.published == 1
    assert pauses == []


def test_a_returned_message_raises_once_and_only_for_itself() -> None:
    channel = Channel(ChannelError("NO_ROUTE", (60, 50), reply_code=312))
    with pytest.raises(celery_fleet.UnroutableError, match=r"io_tasks has no queue for key io\.api"):
        _publish(channel)
    assert channel.events["basic_return"] == set()
    _publish(channel)
    assert channel.published == 2
