"""A queue is consumed anew by two commands, of which only the last awaits its answer."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace
from typing import Any

from kombu import Connection, Queue

from celery_fleet.publishing.amqp import TaskConsumer


class Channel:
    """As much of a channel as a consumer sees; it notes what it is told."""

    def __init__(self) -> None:
        self.connection = SimpleNamespace(client=Connection("memory://"), answered_in_time=nullcontext)
        self.told: list[tuple[object, ...]] = []

    def basic_consume(self, queue: str, consumer_tag: str, nowait: bool, **_: object) -> None:
        self.told.append(("consume", queue, consumer_tag, nowait))

    def basic_cancel(self, consumer_tag: str) -> None:
        self.told.append(("cancel", consumer_tag))


def test_each_queue_has_its_turn_and_is_never_without_a_consumer() -> None:
    channel: Any = Channel()
    consumer = TaskConsumer(channel, [Queue("one"), Queue("two")], auto_declare=False, tag_prefix="t")
    consumer._tags = count(1)  # Kombu counts for all consumers of a process
    consumer.allowed = True
    consumer.consume()
    channel.told.clear()
    for _ in range(3):
        consumer.renew()
    assert channel.told == [
        ("consume", "one", "t3", True),
        ("cancel", "t1"),
        ("consume", "two", "t4", True),
        ("cancel", "t2"),
        ("consume", "one", "t5", True),
        ("cancel", "t3"),
    ]
    assert consumer.queues_by_tag == {"t4": "two", "t5": "one"}
