"""Another virtual host of a RabbitMQ, or another RabbitMQ."""

from __future__ import annotations

import hashlib
import json
import math
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import kombu
from amqp.exceptions import AMQPError, NotFound

from celery_fleet.frames import UNREADABLE, tolerant_frame_handler
from celery_fleet.operator.dead_letters.sending import own_headers
from celery_fleet.operator.move_in.options import MoveInError, Options
from celery_fleet.operator.move_in.task import Place, Task, UnreadableError, read

# Seconds for each step of an attempt to reach the old broker, which may be far away.
CONNECT_TIMEOUT = 10.0
# Seconds in which a message that waits must come; and for a consumer of a killed run to be gone.
SILENCE = 20.0
PATIENCE = 40.0
NAMED = 20
# Acknowledgements of single messages at once.
FEW = 16
# Messages beside those of one batch that may stay, since nobody can tell what is behind them.
MOST_UNREADABLE = 1000
# Properties that go on. Not `expiration`: Celery's own `expires` goes with the headers, and a task must not
# leave the staging queue by itself. Not `user_id`: nobody publishes in the name of another.
_KEPT = ("content_type", "content_encoding", "correlation_id", "reply_to", "priority", "type", "app_id")


class AmqpSource:
    """The old broker, a RabbitMQ.

    A task stays in its queue, unacknowledged, until it is published. Of a killed run its broker delivers
    it again and says so; what tells it from others is a digest of all that is in it.

    Args:
        options: What the run is asked for.
        largest: Bytes of the largest message that the fleet's broker takes.

    Attributes:
        complete: Whether all came again that an earlier run had.
        seconds: That a run takes. What cannot be read comes back to its queue at the end of each, and a
            quorum queue gives up what came back too often.
        notes: What stays, and why.
        held: Queues that could not be looked at, so that it is not known what an earlier run had of them.
    """

    seconds = 120.0

    def __init__(self, options: Options, largest: int) -> None:
        if not options.queues:
            raise MoveInError("a RabbitMQ does not tell its queues to everybody: name them (move_queues)")
        self._queues = list(options.queues)
        self._largest = largest
        tls = {"ca_certs": options.ca_file, "cert_reqs": ssl.CERT_REQUIRED} if options.ca_file else None
        self._connection = kombu.Connection(
            options.source,
            connect_timeout=CONNECT_TIMEOUT,
            **({"ssl": tls} if tls else {}),
            transport_options={"frame_handler": tolerant_frame_handler},
        )
        self._connection.ensure_connection(max_retries=2, interval_start=0.5)
        self.complete = False
        self.held: list[str] = []
        self._channel: Any = None
        self._name, self._unread = "", 0
        self._arrived: list[Any] = []
        self._tags: dict[int, int] = {}
        self._staying: list[int] = []
        self._unreadable: dict[str, list[str]] = {}
        self._left = list(self._queues)

    def counts(self) -> dict[str, int]:
        """Count what waits in each queue."""
        return {name: self._declared(name).message_count for name in self._queues}

    @property
    def notes(self) -> list[str]:
        """What cannot be read, in sentences."""
        return [
            f"{name}: a message stays: {why}" for name, faults in self._unreadable.items() for why in faults
        ]

    def take(self, count: int) -> list[Task]:
        """Take so many tasks at most; none when there are no more."""
        while self._channel is not None or self._left:
            if self._channel is None and not self._consume(self._left.pop(0), count):
                continue
            tasks = self._receive(count)
            if tasks:
                return tasks
            # What cannot be read goes back with the channel.
            self._channel.close()
            self._channel = None
        self.complete = not self.held
        return []

    def forget(self, tasks: list[Task]) -> None:
        """Acknowledge tasks that are published, and return when the broker's channel has passed it on.

        A channel keeps what it has no answer to from the queue, from 32 commands on, and loses it with the
        connection. So there is one command for all, and few at once for what lies behind messages that stay.
        """
        tags = sorted(self._tags.pop(id(task)) for task in tasks)
        first = min([*self._tags.values(), *self._staying], default=math.inf)
        front = [tag for tag in tags if tag < first]
        if front:
            self._channel.basic_ack(front[-1], multiple=True)
        for number, tag in enumerate(tags[len(front) :], 1):
            self._channel.basic_ack(tag)
            if not number % FEW:
                self._declared(self._name)
        if tags:
            self._channel.basic_qos(0, 0, False)

    def preview(self) -> Iterator[Task]:
        """Read nothing: whoever looks at a message of RabbitMQ changes that it was delivered."""
        return iter(())

    def close(self) -> None:
        """Give back what is not acknowledged."""
        with suppress(AMQPError, OSError):
            self._connection.release()

    def _declared(self, name: str) -> Any:  # noqa: ANN401 - py-amqp has no types
        with self._connection.channel() as channel:
            try:
                return channel.queue_declare(name, passive=True)
            except NotFound as error:
                raise MoveInError(f"the old broker has no queue {name}") from error

    def _consume(self, name: str, count: int) -> bool:
        """Consume a queue, unless it is empty."""
        if not self._free(name, time.monotonic() + PATIENCE) or not self._declared(name).message_count:
            return False
        self._name, self._arrived, self._staying = name, [], []
        self._channel = self._connection.channel()
        # Bodies are moved as they are.
        self._channel.auto_decode = False
        # No more than that comes back when the run ends, which a quorum queue counts and limits.
        self._channel.basic_qos(0, count + MOST_UNREADABLE, False)
        self._unread = 0
        self._channel.basic_consume(name, exclusive=True, callback=self._arrived.append)
        return True

    def _free(self, name: str, end: float) -> bool:
        """Wait until nobody consumes a queue: neither a worker nor a killed run."""
        while self._declared(name).consumer_count:
            if time.monotonic() > end:
                raise MoveInError(
                    f"workers consume {name}: stop them first. What comes back to them could run there, too"
                )
            time.sleep(0.2)
        return True

    def _receive(self, count: int) -> list[Task]:
        tasks: dict[str, Task] = {}
        while len(tasks) < count:
            if not self._arrived:
                if not self._wait(0.05 if tasks else SILENCE):
                    break
                continue
            message = self._arrived[0]
            task = self._read(message)
            if task is not None and task.id in tasks:
                break  # the same once more: for the next time
            self._arrived.pop(0)
            if task is None:
                self._staying.append(message.delivery_tag)
            else:
                tasks[task.id] = task
                self._tags[id(task)] = message.delivery_tag
        return list(tasks.values())

    def _wait(self, seconds: float) -> bool:
        """Wait for a message, and return whether there may be more."""
        end = time.monotonic() + seconds
        while not self._arrived:
            # On the channel that consumes: what is delivered comes before this answer.
            ready = self._channel.queue_declare(self._name, passive=True).message_count
            if not ready or time.monotonic() > end:
                break
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.05)
        if self._arrived or not ready:
            return bool(self._arrived)
        if self._unread >= MOST_UNREADABLE:
            raise MoveInError(f"{self._name} has {self._unread} messages that are no tasks: {self.notes[0]}")
        if seconds < SILENCE:
            return False
        raise MoveInError(f"{ready} messages wait in {self._name} and do not come")

    def _read(self, message: Any) -> Task | None:  # noqa: ANN401 - py-amqp has no types
        headers = own_headers(message)
        body = bytes(message.body)
        properties = {name: message.properties[name] for name in _KEPT if name in message.properties}
        digest = digest_of([self._name, headers, properties], body)
        place = Place(digest, self._name, self._name, again=message.delivery_info["redelivered"])
        try:
            if UNREADABLE in headers:
                raise UnreadableError(f"its properties cannot be read: {headers[UNREADABLE]}")
            return read(place, body, headers, properties, self._largest)
        except UnreadableError as error:
            self._note(error, body)
            return None

    def _note(self, error: UnreadableError, body: bytes) -> None:
        """Name what stays."""
        self._unread += 1
        faults = self._unreadable.setdefault(self._name, [])
        if len(faults) < NAMED:
            faults.append(f"{error}: {body[:80]!r}")


def digest_of(about: object, body: bytes) -> str:
    """Return what tells a message from all others, as long as nothing in it changes."""
    text = json.dumps(about, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode() + b"\0" + body).hexdigest()
