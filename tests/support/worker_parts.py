"""What surrounds a worker's consumer, for tests that build the real one without a broker."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Job:
    """What a pool gives for a task."""


class Pool:
    """As much of an execution pool as a worker sees; it keeps what it is given."""

    is_green = False
    uses_semaphore = False
    flush = None

    def __init__(self, limit: int = 2) -> None:
        self.limit = self.num_processes = limit
        self.given: list[dict[str, Any]] = []

    def apply_async(self, target: object, args: tuple[Any, ...] = (), **options: Any) -> Any:
        self.given.append({"args": args, **options})
        return Job()

    def run_canary(self) -> None:
        """Answer the canary, which is what the pool was given first."""
        self.given.pop(0)["callback"]((0, None, 0.0))


class Channel:
    """A channel of a broker: what was settled, and how its queues are."""

    no_ack_consumers: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.rejected: list[tuple[int, bool]] = []
        self.returned: list[int] = []
        self.prefetch: list[int] = []
        self.consumers, self.messages, self.asked = 2, 0, 0

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.acknowledged.append(tag)

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.rejected.append((tag, requeue))

    def basic_nack(self, tag: int, multiple: bool = False) -> None:
        self.returned.append(tag)

    def basic_qos(self, _size: int, count: int, _global: bool) -> None:
        self.prefetch.append(count)

    def queue_declare(self, _queue: str, passive: bool) -> SimpleNamespace:
        assert passive
        self.asked += 1
        return SimpleNamespace(consumer_count=self.consumers, message_count=self.messages)


class Connection:
    """An open connection to a broker of some version."""

    hostname, port = "10.0.0.1", 5672

    def __init__(self, version: str = "4.0.5") -> None:
        self.connection = SimpleNamespace(server_properties={"version": version})


class TaskConsumer:
    """What Celery makes anew for each connection."""

    allowed = False

    def __init__(self) -> None:
        self.channel = Channel()
        self.queues = [SimpleNamespace(name="one"), SimpleNamespace(name="two")]
        self.queues_by_tag: dict[str, str] = {}
        self.renewed = 0

    def consume(self) -> None:
        self.queues_by_tag = {"1": "one", "2": "two"}

    def renew(self) -> None:
        self.renewed += 1

    def cancel(self) -> None:
        self.queues_by_tag = {}


class Manager:
    """systemd as a unit sees it: a socket, and what came in over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))

    @property
    def received(self) -> list[str]:
        """The messages since it was asked last."""
        messages = []
        try:
            while message := self._socket.recv(4096):
                messages.append(message.decode())
        except BlockingIOError:
            return messages
        return messages

    def close(self) -> None:
        self._socket.close()


class Clock:
    """The time that the worker's pieces see."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class RunningTask:
    """A task that has begun."""

    id = "a"
    name = "shop.work"
    time_start = 1000.0
    time_limits = (60, None)
    message = SimpleNamespace(delivery_info={"consumer_tag": "1"})
