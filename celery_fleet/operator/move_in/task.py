"""A task as it waits at the old broker, read without being run, and as the fleet's broker gets it."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import amqp
from celery.utils.time import maybe_iso8601
from kombu import Message
from kombu.transport.native_delayed_delivery import MAX_NUMBER_OF_BITS_TO_USE, calculate_routing_key

from celery_fleet.fleet import Fleet, Queue
from celery_fleet.publishing import published
from celery_fleet.publishing.router import HINT_HEADER, Router
from celery_fleet.worker.envelope import BrokenMessageError, check

JSON = "application/json"
# Seconds, eight years and a half: more bits a delay does not have.
LONGEST = 2**MAX_NUMBER_OF_BITS_TO_USE - 1
_DELAY = re.compile(rf"^([01]\.){{{MAX_NUMBER_OF_BITS_TO_USE}}}")


class UnreadableError(Exception):
    """A message is no task, or none that the fleet's broker takes; the text says why."""


@dataclass(frozen=True)
class Task:
    """A task that waits.

    Attributes:
        id: By which a later run knows it again.
        place: Where it waits, as the table names it.
        queue: The queue that it was published to.
        name: Of the task.
        body, headers, properties: Of the message; properties by their names in AMQP.
        eta: Before which it must not run, in seconds since the epoch.
        again: Whether an earlier run may have published it.
    """

    id: str
    place: str
    queue: str
    name: str
    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    eta: float | None = None
    again: bool = False

    def message(self) -> amqp.Message:
        """Return it as it is published: stored on disk, and as one of this moment."""
        properties = {**self.properties, "delivery_mode": 2, "timestamp": int(time.time())}
        headers = published.stamped(self.headers)
        return amqp.Message(self.body, message_id=self.id, application_headers=headers, **properties)


@dataclass(frozen=True)
class Place:
    """Where a task waits, and what is known of it from there."""

    id: str
    place: str
    queue: str
    again: bool = False


def read(
    place: Place,
    body: bytes,
    headers: Any,  # noqa: ANN401
    properties: Mapping[str, Any],
    largest: int,
) -> Task:
    """Read a message.

    Args:
        place: Where it waits.
        body: As it is at the old broker.
        headers: Whatever is there.
        properties: Its properties by their names in AMQP.
        largest: Bytes of the largest message that the fleet's broker takes.

    Returns:
        The task.

    Raises:
        UnreadableError: It is none.
    """
    if len(body) > largest:
        raise UnreadableError(f"has {len(body)} bytes, and the fleet's broker takes {largest}")
    fields = _fields(body, headers, properties)
    name, eta = fields["task"], time_of(fields)
    task = Task(place.id, place.place, place.queue, name, body, headers, properties, eta, place.again)
    try:
        # What AMQP has no form for, such as numbers of more than 64 bits.
        task.message()._serialize_properties()
    except Exception as error:
        raise UnreadableError(f"its headers cannot be sent: {type(error).__name__}: {error}") from error
    return task


def _fields(body: bytes, headers: Any, properties: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    """Check a message, and return where its name and its times are."""
    if not isinstance(headers, Mapping):
        raise UnreadableError("has no headers")
    if properties.get("content_type") == JSON and "compression" not in headers:
        message = Message(
            body=body,
            content_type=JSON,
            content_encoding=properties.get("content_encoding"),
            headers=dict(headers),
        )
        try:
            check(message)
            fields: Mapping[str, Any] = headers if "task" in headers else message.payload
        except BrokenMessageError as error:
            raise UnreadableError(str(error)) from error
        except Exception as error:  # what the bytes of strangers raise in a decoder
            raise UnreadableError(f"cannot be decoded: {type(error).__name__}") from error
        return fields
    # Nothing is unpickled or unpacked here: the headers of Celery's protocol 2 say enough.
    if not all(isinstance(headers.get(name), str) and headers[name] for name in ("task", "id")):
        raise UnreadableError("no header names a task")
    return headers


def time_of(fields: Mapping[str, Any]) -> float | None:
    """Return the time before which a task must not run, in seconds since the epoch; none if it has none.

    Args:
        fields: Where its `eta` is: its headers, or its body in Celery's protocol 1.

    Raises:
        UnreadableError: It is no time.
    """
    try:
        eta = maybe_iso8601(fields.get("eta"))
        if eta is None:
            return None
        return float((eta if eta.tzinfo else eta.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadableError("its eta is no time") from error


def read_redis(raw: bytes, place: Place, largest: int) -> Task:
    """Read a message as kombu writes it to Redis.

    Raises:
        UnreadableError: It is no task.
    """
    try:
        content = json.loads(raw)
        properties = content["properties"]
        body = content["body"]
        encoded = properties.get("body_encoding") == "base64"
        decoded = base64.b64decode(body) if encoded else body.encode()
        # Not the priority: Redis has the first of them at 0, RabbitMQ at 9. They are moved in its order.
        own = {
            "content_type": content.get("content-type"),
            "content_encoding": content.get("content-encoding"),
            "correlation_id": properties.get("correlation_id"),
            "reply_to": properties.get("reply_to"),
        }
        headers = content.get("headers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError("is no message of Celery's") from error
    return read(place, decoded, headers, {name: value for name, value in own.items() if value}, largest)


class Addresses:
    """Where the fleet has its tasks.

    Args:
        fleet: The fleet.
        mapped: Queues of the fleet by the names of old ones.
    """

    def __init__(self, fleet: Fleet, mapped: Mapping[str, str]) -> None:
        self._router = Router(fleet.routing)
        self._known = fleet.addresses()
        self._mapped = mapped
        self._keys = {queue.routing_key: name for name, (_, queue) in self._known.items()}
        pools = fleet.pools.values()
        # As the broker has it: any quorum queue brings the delays.
        self._delays = any(pool.queue_type == "quorum" for pool in pools)

    def of(self, task: Task) -> tuple[str, str]:
        """Return a task's queue and the key that leads to it, with the delay that is left of its time.

        The queue that it was published to counts if it is one of the fleet's, by its name or an alias; if
        not, a hint or the rules decide by the task's name.
        """
        asked = self._mapped.get(task.queue) or task.queue
        explicit = asked if asked in self._known or self._router.by_alias(asked) else None
        hint = task.headers.get(HINT_HEADER)
        decision = self._router.explain(
            task.name, queue=explicit, hint=hint if isinstance(hint, str) else None
        )
        pool, queue = self._known[decision.queue]
        return queue.name, self._delayed(queue, task.eta, pool.exchange_type)

    def _delayed(self, queue: Queue, eta: float | None, exchange_type: str) -> str:
        left = math.ceil(eta - time.time()) if eta is not None else 0
        if left < 1 or not self._delays or exchange_type != "topic":
            return queue.routing_key
        return str(calculate_routing_key(min(left, LONGEST), queue.routing_key))

    def named(self, key: str) -> str:
        """Return the queue that a key leads to, delayed or not."""
        return self._keys.get(_DELAY.sub("", key), key)
