"""The staging queue: what is published, and has perhaps not left the old broker yet."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from amqp import Message, spec
from kombu import Connection

from celery_fleet.operator.move_in.options import MoveInError

# What one consumer may hold; the queue has a lower limit.
MOST = 65_535
# Bytes that are on their way at once: what comes back must not fill the line while more is sent.
ON_THE_WAY = 1 << 16
# Seconds without a word from the broker.
SILENCE = 20.0
# Seconds for which an earlier run may hold the queue: as long as the broker takes to see that it is gone.
PATIENCE = 40.0

_FENCE = "fence:"


class Staging:
    """The staging queue, of which one run at a time is the active consumer.

    What is published comes back to the same channel. The broker lets no other run be active before it knows
    that this channel is gone, and so that nothing more comes from it.

    Args:
        connection: Open, as the move's own user, without confirmed publishing.
        exchange: That leads to the queue with every key.
        queue: It.

    Attributes:
        held: Delivery tags of what lies there by the task's id.
        keys: Routing keys by delivery tag.
    """

    def __init__(self, connection: Connection, exchange: str, queue: str) -> None:
        self._connection, self._exchange, self._queue = connection, exchange, queue
        self.held: dict[str, list[int]] = {}
        self.keys: dict[int, str] = {}
        self._unconfirmed: dict[int, str] = {}
        self._refused: set[str] = set()
        self._sent = 0
        self._fence = f"{_FENCE}{uuid.uuid4().hex}"
        self._active = False
        channel = self._channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._nacked)
        channel.basic_qos(0, MOST, False)
        channel.basic_consume(queue, callback=self._take)

    def open(self) -> bool:
        """Wait until this run is the active one and knows all that lies there.

        Returns:
            Whether there is room: without it, nothing can be known.

        Raises:
            MoveInError: Another run is at work.
        """
        self._publish(self._fence, Message(b"", message_id=self._fence, delivery_mode=2), "")
        self._await(lambda: not self._unconfirmed, SILENCE, "the broker confirms nothing")
        if self._refused:
            self._refused.clear()
            return False
        # A fence overtakes tasks of a higher priority, so the queue must be empty, too. What is delivered
        # comes before that answer.
        self._await(
            lambda: self._active and not self._ready(),
            PATIENCE,
            "another run is at work on the move; wait for its end",
        )
        return True

    def store(self, messages: Mapping[str, tuple[Message, str]]) -> set[str]:
        """Publish messages, each with its key, and wait until they lie in the queue.

        Returns:
            Ids of those for which there is no room.

        Raises:
            MoveInError: The broker is silent.
        """
        refused: set[str] = set()
        waiting = list(messages.items())
        while waiting:
            size, sent = 0, dict[str, int]()
            while waiting and size < ON_THE_WAY:
                id_, (message, key) = waiting.pop(0)
                sent[id_] = len(self.held.get(id_, ())) + 1
                size += len(message.body)
                self._publish(id_, message, key)
            refused |= self._back(sent)
        return refused

    def _back(self, sent: Mapping[str, int]) -> set[str]:
        """Wait until so many messages of each id lie there, and return which were refused."""
        silent = "the fleet's broker confirms nothing (an alarm, or no majority)"
        self._await(lambda: not self._unconfirmed, SILENCE, silent)
        refused, self._refused = self._refused, set()
        lie = [(id_, count) for id_, count in sent.items() if id_ not in refused]
        self._await(lambda: all(len(self.held.get(id_, ())) >= count for id_, count in lie), SILENCE, silent)
        return refused

    def release(self, ids: Iterable[str]) -> list[str]:
        """Let the broker move what lies there to its queues, one message for each id.

        Returns:
            The keys.
        """
        tags = [self.held[id_].pop(0) for id_ in ids]
        for id_ in [id_ for id_, left in self.held.items() if not left]:
            del self.held[id_]
        keys = [self.keys.pop(tag) for tag in tags]
        if tags and not self.held:
            # The channel keeps commands to itself when there are many; this is one.
            self._reject(max(tags), multiple=True)
        else:
            for tag in tags:
                self._reject(tag)
        # Its answer comes after the channel has passed them on.
        self._channel.basic_qos(0, MOST, False)
        return keys

    def _ready(self) -> int:
        return int(self._channel.queue_declare(self._queue, passive=True).message_count)

    def _reject(self, tag: int, *, multiple: bool = False) -> None:
        self._channel.send_method(spec.Basic.Nack, "Lbb", (tag, multiple, False))

    def _publish(self, id_: str, message: Message, key: str) -> None:
        self._sent += 1
        self._unconfirmed[self._sent] = id_
        self._channel.basic_publish(message, exchange=self._exchange, routing_key=key)

    def _take(self, message: Any) -> None:  # noqa: ANN401 - py-amqp has no types
        id_ = str(message.properties.get("message_id"))
        if id_.startswith(_FENCE):
            self._channel.basic_ack(message.delivery_tag)
            self._active = self._active or id_ == self._fence
            return
        self.held.setdefault(id_, []).append(message.delivery_tag)
        self.keys[message.delivery_tag] = message.delivery_info["routing_key"]

    def _confirmed(self, tag: int, multiple: bool) -> None:
        for each in [tag] if not multiple else [sent for sent in self._unconfirmed if sent <= tag]:
            self._unconfirmed.pop(each, None)

    def _nacked(self, tag: int, multiple: bool) -> None:
        for each in [tag] if not multiple else [sent for sent in self._unconfirmed if sent <= tag]:
            if (id_ := self._unconfirmed.pop(each, None)) is not None:
                self._refused.add(id_)

    def _await(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if (left := end - time.monotonic()) <= 0:
                raise MoveInError(otherwise)
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=min(left, 1.0))
            self._connection.heartbeat_check()
