"""The fleet's own former broker, from which messages are moved as they are, also those that are no tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import amqp
from amqp.exceptions import NotFound
from kombu.transport.native_delayed_delivery import MAX_NUMBER_OF_BITS_TO_USE, calculate_routing_key

from celery_fleet.fleet import Broker
from celery_fleet.frames import UNREADABLE
from celery_fleet.operator.dead_letters.letters import EARLIER_DEATHS
from celery_fleet.operator.dead_letters.sending import own_headers
from celery_fleet.operator.move_in.amqp_source import AmqpSource, digest_of
from celery_fleet.operator.move_in.options import Options
from celery_fleet.operator.move_in.task import LONGEST, UnreadableError, time_of

# What a message loses: its life time, since nothing may leave the staging queue by itself; the identity,
# which becomes that of the move, and which Celery does not set; and copies to other queues, which were made.
_DROPPED = ("application_headers", "expiration", "message_id", "delivery_mode", UNREADABLE)
_COPIES = ("CC", "BCC")


@dataclass(frozen=True)
class Route:
    """How messages get to one exchange of the fleet's broker.

    Attributes:
        staging: The staging queue.
        exchange: That gets the messages which are rejected there.
        queues: Queues of the former broker, each with the key by which its messages go on; empty: their own.
        delayed: Whether they wait for their time.
        letters: Whether they are dead letters, whose record goes on with them.
    """

    staging: str
    exchange: str
    queues: Mapping[str, str]
    delayed: bool = False
    letters: bool = False


@dataclass(frozen=True)
class Kept:
    """A message that is moved as it is.

    Attributes:
        id: By which a later run knows it again.
        queue: In which it waits.
        key: Its routing key.
        body, properties: Of the message, with its headers.
        eta: Before which it must not be delivered, in seconds since the epoch; none if it has no such time.
        again: Whether an earlier run may have published it.
    """

    id: str
    queue: str
    key: str
    body: bytes
    properties: Mapping[str, Any] = field(repr=False)
    eta: float | None
    again: bool

    def message(self) -> amqp.Message:
        """Return it as it is published, stored on disk."""
        return amqp.Message(self.body, **{**self.properties, "message_id": self.id, "delivery_mode": 2})


class Addressed:
    """Where messages of a route go.

    Args:
        route: The route.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self._queues = {key: name for name, key in route.queues.items() if key}

    def of(self, message: Kept) -> tuple[str, str]:
        """Return a message's queue and its key, with the delay that is left of its time."""
        if not self._route.delayed or message.eta is None:
            return message.queue, message.key
        # A delay has one second at least.
        left = min(max(math.ceil(message.eta - time.time()), 1), LONGEST)
        target = message.key.split(".", MAX_NUMBER_OF_BITS_TO_USE)[-1]
        return message.queue, str(calculate_routing_key(left, target))

    def named(self, key: str) -> str:
        """Return the queue that a key leads to; the route where it is the message's own."""
        return self._queues.get(key) or self._route.exchange


class FormerBroker(AmqpSource):
    """A former broker of the fleet, whose workers only finish what they have.

    Args:
        options: What the run is asked for.
        route: What is moved.
        broker: The fleet's broker.

    Attributes:
        held: Queues of which workers still have messages; these come back there if a worker is lost, and what
            waits behind them is moved when they are done.
    """

    def __init__(self, options: Options, route: Route, broker: Broker) -> None:
        super().__init__(
            Options(
                options.source,
                queues=route.queues,
                ca_file=broker.ca_file if options.source.startswith("amqps:") else None,
            ),
            broker.max_message_size,
        )
        self._route = route
        self._end = math.inf
        # The model may have got queues since.
        self._queues = [name for name in self._queues if self._there(name)]
        self._left = list(self._queues)

    def _there(self, name: str) -> bool:
        channel = self._connection.channel()
        try:
            channel.queue_declare(name, passive=True)
        except NotFound:
            return False
        channel.close()
        return True

    def _free(self, name: str, end: float) -> bool:
        # All queues of a route together have the time that a killed run may take to be gone.
        self._end = min(self._end, end)
        while self._declared(name).consumer_count:
            if time.monotonic() > self._end:
                self.held.append(name)
                return False
            time.sleep(0.2)
        return True

    # What is moved as it is need not be a task; the base class only hands it on. py-amqp has no types.
    def _read(self, message: Any) -> Kept | None:  # type: ignore[override]  # noqa: ANN401
        every = message.properties.get("application_headers") or {}
        headers = {name: value for name, value in own_headers(message).items() if name not in _COPIES}
        properties = {name: value for name, value in message.properties.items() if name not in _DROPPED}
        body = bytes(message.body)
        # Without its queue, its key and how it died: what a killed run had of it may have gone on since.
        identity = digest_of([headers, properties], body)
        key = self._route.queues[self._name]
        if "x-death" in every and self._route.letters:
            headers[EARLIER_DEATHS] = [*every["x-death"], *headers.get(EARLIER_DEATHS, [])]
        try:
            if UNREADABLE in every:
                raise UnreadableError(f"its properties cannot be read: {every[UNREADABLE]}")
            if len(body) > self._largest:
                raise UnreadableError(f"has {len(body)} bytes, and the fleet's broker takes {self._largest}")
            kept = Kept(
                identity,
                self._name,
                key or str(message.delivery_info["routing_key"]),
                body,
                {**properties, "application_headers": headers},
                _eta(headers) if self._route.delayed else None,
                # The broker has moved it on, perhaps.
                message.delivery_info["redelivered"] or self._route.delayed,
            )
            kept.message()._serialize_properties()
        except UnreadableError as error:
            self._note(error, body)
            return None
        return kept


def _eta(headers: Mapping[str, Any]) -> float | None:
    try:
        return time_of(headers)
    except UnreadableError:
        return None  # then it waits anew
