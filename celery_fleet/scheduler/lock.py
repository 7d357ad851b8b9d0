"""The right to send, and the memory of what was sent, in one queue.

The lock is a queue with a single active consumer: whoever the broker delivers to is the scheduler. What
was sent is in the same queue. Each task is published once, and the broker copies it there (by the header
BCC) in the step in which it puts it into the task's queue; so there is no moment in which a task is sent
and not noted, or noted and not sent, and the next scheduler finds all of it. Tasks go out over the
connection that holds the lock: a process that lost it, or slept too long, cannot send.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import kombu

from celery_fleet.publishing.producer import FleetProducer
from celery_fleet.scheduler import schedule

logger = logging.getLogger(__name__)

# What the copy of a task says in its headers: runs by entry, and who sent it.
RUNS_HEADER = "fleet_beat_runs"
SENDER_HEADER = "fleet_beat_sender"
MARK_HEADER = "fleet_beat_mark"

# Seconds. What a holder of the lock sends comes back to it at once; if it doesn't, the lock is another's.
ECHO_TIMEOUT = 10.0

# Seconds that a full queue is waited for, which holds up other tasks.
PATIENCE = 1.0


class LockLostError(ConnectionError):
    """The broker delivers to another scheduler."""


class CountingProducer(FleetProducer):
    """Counts what it was to publish: an error before that is not the connection's."""

    attempts = 0

    def publish(self, *args: object, **options: object) -> object:
        """Publish a message."""
        self.attempts += 1
        return super().publish(*args, **options)


class Lock:
    """The right to send, and the memory of what was sent.

    Args:
        link: A connection to the broker, established.
        queue: The queue that is the lock; it is bound by its name to the exchanges of all pools.
        exchange: One of these exchanges.
        user: The user of this connection. The broker vouches for it in each message, and what others
            publish is no note.

    Attributes:
        active: Whether this process has the right, and knows all that was sent.
        runs: The last run by entry, in seconds since the epoch, as others left it.
    """

    def __init__(self, link: kombu.Connection, queue: str, exchange: str, user: str) -> None:
        self.active = False
        self.runs: dict[str, float] = {}
        self.id = uuid.uuid4().hex
        self.queue = queue
        self.user = user
        self._exchange = exchange
        self._link = link
        self._chosen = False
        self._awaited: str | None = None
        self._arrived: int | None = None
        self._unanswered: float | None = None
        channel = link.channel()
        self.producer = CountingProducer(channel, auto_declare=False, patience=PATIENCE)
        self._channel = channel
        # Its own tag, which says in the broker's figures which host it is.
        tag = f"{os.uname().nodename}.{self.id[:8]}"
        channel.basic_consume(queue, consumer_tag=tag, callback=self._receive)
        # There may be no message yet, and by a message a scheduler learns that it was chosen.
        self.save({})

    def headers(self, runs: Mapping[str, float]) -> dict[str, Any]:
        """Return the headers that record runs.

        Args:
            runs: Runs by entry.

        Returns:
            Headers, of which the broker keeps BCC to itself.
        """
        if self._chosen and self._unanswered is None:
            self._unanswered = time.monotonic()
        return {"BCC": [self.queue], RUNS_HEADER: json.dumps(runs), SENDER_HEADER: self.id}

    def save(self, runs: Mapping[str, float]) -> None:
        """Record runs without a task, and acknowledge all messages before this one when it has come back.

        Args:
            runs: Runs by entry.
        """
        # It may come back while the broker's confirmation is awaited.
        mark = self._awaited = uuid.uuid4().hex if self._chosen else None
        headers = self.headers({}) | {MARK_HEADER: mark}
        del headers["BCC"]
        # In the body, since the headers of a message must fit into one frame.
        self.producer.publish(
            json.dumps(runs),
            exchange=self._exchange,
            routing_key=self.queue,
            headers=headers,
            delivery_mode=2,
            user_id=self.user,
        )

    def wait(self, seconds: float) -> None:
        """Receive what the broker delivers, for some seconds at most.

        Raises:
            LockLostError: What this process sent does not come back.
        """
        with suppress(TimeoutError):
            self._link.drain_events(timeout=max(seconds, 0.001))
        self._link.heartbeat_check()
        if self._chosen and self._awaited is None:
            # What is in the queue before this one is all that others sent.
            self.save({})
        elif self._arrived is not None:
            if self.active:
                self._channel.basic_ack(self._arrived - 1, multiple=True)
            self.active, self._arrived = True, None
        if self._unanswered is not None and time.monotonic() - self._unanswered > ECHO_TIMEOUT:
            raise LockLostError("what was sent does not come back: another scheduler was chosen")

    def _receive(self, message: Any) -> None:  # noqa: ANN401 - py-amqp has no types
        self._chosen = True
        if message.properties.get("user_id") != self.user:
            logger.warning("Removed a message from %s that no scheduler sent", self.queue)
            # Enough of them would push the notes out.
            self._channel.basic_ack(message.delivery_tag)
            return
        headers = message.headers or {}
        if headers.get(SENDER_HEADER) == self.id:
            self._unanswered = None
        else:
            saved = message.body if MARK_HEADER in headers else None
            for recorded in (headers.get(RUNS_HEADER), saved):
                self.runs = schedule.merged(self.runs, recorded)
        if self._awaited is not None and headers.get(MARK_HEADER) == self._awaited:
            self._arrived = message.delivery_tag
