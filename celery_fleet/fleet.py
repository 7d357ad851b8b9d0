"""The fleet as its members know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Bytes of the largest message: RabbitMQ's own limit since version 4, for a fleet file that names none.
MAX_MESSAGE_SIZE = 16 * 1024**2


@dataclass(frozen=True)
class Node:
    """A broker node as this host reaches it."""

    host: str
    port: int


@dataclass(frozen=True)
class Broker:
    """The broker, and the user that a process is at it which belongs to no pool.

    `ca_file` holds the certificates by which nodes are trusted; None where connections are not encrypted.
    `client_control` says whether clients may send remote control. `max_message_size` is that of the largest
    message, in bytes.
    """

    nodes: tuple[Node, ...]
    vhost: str
    user: str
    password_file: str
    ca_file: str | None
    client_control: bool = False
    max_message_size: int = MAX_MESSAGE_SIZE


@dataclass(frozen=True)
class Queue:
    """A task queue and the key that leads to it."""

    name: str
    routing_key: str


@dataclass(frozen=True)
class Pool:
    """A worker pool: its exchange and queues, how its workers run tasks, and who they are at the broker.

    Limits are in seconds.
    """

    name: str
    exchange: str
    exchange_type: str
    queue_type: str
    queues: tuple[Queue, ...]
    execution: str
    acknowledgement: str
    prefetch_multiplier: int
    max_tasks_per_child: int | None
    time_limit: int
    soft_time_limit: int
    user: str
    password_file: str
    command_prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Branch:
    """The queue of a rule for names that hold one of these words, too."""

    words: tuple[str, ...]
    queue: str


@dataclass(frozen=True)
class Rule:
    """A routing rule; it matches a pattern of whole task names, one of some words, or both."""

    name: str
    queue: str
    words: tuple[str, ...] = ()
    task: str | None = None
    match: str = "name"
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Routing:
    """Where tasks go whose publisher names no queue.

    `aliases` are names that the application has for queues of the fleet.
    """

    default_queue: str
    periodic_queue: str
    hints: Mapping[str, str]
    aliases: Mapping[str, str]
    site_rules: tuple[Rule, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Verify:
    """Where canaries answer, and the user that listens there."""

    exchange: str
    queue: str
    routing_key: str
    user: str
    password_file: str


@dataclass(frozen=True)
class Login:
    """A user, and the file that holds the password."""

    user: str
    password_file: str


@dataclass(frozen=True)
class Results:
    """The server that keeps the results of tasks, and who workers and others are there.

    `ca_file` is as the broker's.
    """

    host: str
    port: int
    ca_file: str | None
    worker: Login
    client: Login


@dataclass(frozen=True)
class DeadLetters:
    """The dead-letter queues, each with the pools whose tasks end there, and the user that reads them."""

    user: str
    password_file: str
    queues: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Fleet:
    """Everything that this host knows of the fleet."""

    path: str
    app_name: str
    celery_app: str
    broker: Broker
    pools: Mapping[str, Pool]
    routing: Routing
    verify: Verify
    dead_letters: DeadLetters
    results: Results | None = None

    def addresses(self) -> dict[str, tuple[Pool, Queue]]:
        """Map each queue's name to its pool and itself."""
        return {queue.name: (pool, queue) for pool in self.pools.values() for queue in pool.queues}
