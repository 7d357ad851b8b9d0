"""Send a canary through every queue of the fleet, and see who answers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from amqp import Message
from amqp.exceptions import AccessRefused, ResourceLocked
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

from celery_fleet.connection import CONNECT_TIMEOUT, connect, transport_options
from celery_fleet.errors import PublishError, QueueFullError, VerifyError
from celery_fleet.files import read_password
from celery_fleet.fleet import Broker, DeadLetters, Fleet, Verify
from celery_fleet.nodes import urls
from celery_fleet.publishing.producer import FleetProducer
from celery_fleet.worker import canary

# Seconds.
TIMEOUT = 60.0
CONFIRM_TIMEOUT = 10
PUBLISH_PATIENCE = 2.0

# Seconds beyond the timeout in which a canary may still run, for hosts whose clock is ahead. Later
# it is of no use, and a pool that comes back after days shall not run those of all days.
CLOCK_ALLOWANCE = 300.0


@dataclass(frozen=True)
class Answer:
    """What became of the canary of one queue; `fault` is None when the right pool ran it."""

    queue: str
    exchange: str
    routing_key: str
    expected_pool: str
    pool: str | None = None
    host: str | None = None
    node: str | None = None
    milliseconds: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Report:
    """The answers of one run, the queues whose canary nobody answered, and the dead letters by queue."""

    run: str
    answers: tuple[Answer, ...]
    missing: tuple[str, ...]
    dead_letters: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether every canary ran, and each in the pool of its queue."""
        return not self.missing and not any(answer.fault for answer in self.answers)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "run": self.run,
            "answers": [asdict(answer) for answer in self.answers],
            "missing": list(self.missing),
            "dead_letters": dict(self.dead_letters),
        }


def verify(fleet: Fleet, timeout: float = TIMEOUT, progress: Callable[[str], None] = print) -> Report:
    """Send one canary through each queue's exchange and key, and wait for the answers.

    Args:
        fleet: The fleet.
        timeout: Seconds to wait for the last answer.
        progress: Called with a line for a person as answers come in.

    Returns:
        What came of it.

    Raises:
        VerifyError: The broker cannot be reached, or another verification is running.
        FleetFileError: The password of a user cannot be read.
    """
    with _reached(fleet.broker, fleet.verify) as connection:
        return _Run(fleet, connection, timeout, progress).report()


@contextmanager
def _reached(broker: Broker, login: Verify | DeadLetters) -> Iterator[Connection]:
    read_password(login.password_file)
    with connect(
        urls(broker, login.user),
        connect_timeout=CONNECT_TIMEOUT,
        transport_options=transport_options(broker, login.password_file),
    ) as connection:
        try:
            connection.ensure_connection(max_retries=2 * len(broker.nodes), interval_start=0.5)
        except OperationalError as error:
            raise VerifyError(f"cannot reach the broker at {connection.as_uri()}: {error}") from error
        yield connection


def _answer(body: str | bytes) -> dict[str, Any]:
    """Read an answer, which any worker may write; empty if it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    texts = all(isinstance(answer.get(name), str) for name in ("run", "queue", "host", "node"))
    return answer if texts and isinstance(answer.get("pool"), str | None) else {}


class _Run:
    def __init__(
        self, fleet: Fleet, connection: Connection, timeout: float, progress: Callable[[str], None]
    ) -> None:
        self.fleet = fleet
        self.connection = connection
        self.timeout = timeout
        self.progress = progress
        self.id = uuid.uuid4().hex
        self.sent: dict[str, float] = {}
        self.answers: dict[str, Answer] = {}
        self.awaited = {
            queue.name: Answer(queue.name, pool.exchange, queue.routing_key, pool.name)
            for pool, queue in fleet.addresses().values()
        }

    def report(self) -> Report:
        self.listen()
        end = time.monotonic() + self.timeout
        self.publish(end)
        while self.missing() and (remaining := end - time.monotonic()) > 0:
            try:
                self.connection.drain_events(timeout=remaining)
            except TimeoutError:
                break
        missing = self.missing()
        for queue in missing:
            self.progress(f"{queue}: no answer in {self.timeout:g} s")
        return Report(
            self.id,
            tuple(self.answers[queue] for queue in self.awaited if queue in self.answers),
            missing,
            self.dead_letters(),
        )

    def dead_letters(self) -> dict[str, int]:
        """Count the dead letters as the user who may read them; RabbitMQ 4.3 lets nobody else."""
        with _reached(self.fleet.broker, self.fleet.dead_letters) as connection:
            channel = connection.channel()
            return {
                name: int(channel.queue_declare(name, passive=True).message_count)
                for name in self.fleet.dead_letters.queues
            }

    def missing(self) -> tuple[str, ...]:
        return tuple(queue for queue in self.awaited if queue not in self.answers)

    def listen(self) -> None:
        queue = self.fleet.verify.queue
        try:
            self.connection.channel().basic_consume(
                queue=queue, exclusive=True, no_ack=True, callback=self.take
            )
        except (AccessRefused, ResourceLocked) as error:
            if "exclusive" in str(error):
                raise VerifyError(
                    f"another verification is running: it has {queue} for itself; wait for its end"
                ) from error
            raise VerifyError(f"user {self.fleet.verify.user} may not read {queue}: {error}") from error

    def publish(self, end: float) -> None:
        # Only for its message format; the user's application need not be importable here.
        messages = Celery(set_as_current=False).amqp
        producer = FleetProducer(self.connection.channel(), patience=PUBLISH_PATIENCE)
        waiting = list(self.awaited.values())
        while waiting:
            full: list[Answer] = []
            for awaited in waiting:
                headers, properties, body, _ = messages.as_task_v2(
                    str(uuid.uuid4()),
                    canary.NAME,
                    args=(self.id, awaited.queue),
                    ignore_result=True,
                    expires=self.timeout + CLOCK_ALLOWANCE,
                )
                self.sent[awaited.queue] = time.monotonic()
                try:
                    producer.publish(
                        body,
                        exchange=awaited.exchange,
                        routing_key=awaited.routing_key,
                        headers=headers,
                        serializer="json",
                        mandatory=True,
                        confirm_timeout=CONFIRM_TIMEOUT,
                        **properties,
                    )
                except QueueFullError as error:
                    # A small queue is full now and then in a fleet at work. The others come first.
                    if time.monotonic() < end:
                        full.append(awaited)
                    else:
                        self.conclude(replace(awaited, fault=str(error)))
                except PublishError as error:
                    self.conclude(replace(awaited, fault=str(error)))
            waiting = full

    def take(self, message: Message) -> None:
        arrived = time.monotonic()
        answer = _answer(message.body)
        awaited = self.awaited.get(answer.get("queue", ""))
        # Others are late answers to earlier runs, or second ones of a canary that was delivered twice.
        if answer.get("run") != self.id or awaited is None or awaited.queue in self.answers:
            return
        right = answer["pool"] == awaited.expected_pool
        self.conclude(
            replace(
                awaited,
                pool=answer["pool"],
                host=answer["host"],
                node=answer["node"],
                milliseconds=round((arrived - self.sent[awaited.queue]) * 1000, 1),
                fault=None if right else f"ran in pool {answer['pool']} instead of {awaited.expected_pool}",
            )
        )

    def conclude(self, answer: Answer) -> None:
        self.answers[answer.queue] = answer
        outcome = answer.fault or f"{answer.node} on {answer.host} in {answer.milliseconds:.0f} ms"
        self.progress(f"{answer.queue}: {outcome}")
