"""Brokers that a fleet is moved from: Redis or Valkey, with the tasks of an application that had it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
from celery import Celery
from kombu import Connection, Queue

from celery_fleet.operator.move_in import mover
from support import kills
from support.vhost import free_port, wait_for

PASSWORD = "old-secret/@"
# The program is that of the server, which goes by its name; the server's own package would start one.
PROGRAMS = {name: f"/usr/bin/{name}-check-rdb" for name in ("redis", "valkey")}
SERVERS = [name for name, program in PROGRAMS.items() if Path(program).exists()]


@contextmanager
def old_server(name: str, directory: Path) -> Iterator[str]:
    """Start a Redis or a Valkey, and yield its URL."""
    port = free_port()
    config = directory / "server.conf"
    config.write_text(
        f'bind 127.0.0.1\nport {port}\ndir {directory}\nsave ""\nappendonly no\nrequirepass "{PASSWORD}"\n'
    )
    process = subprocess.Popen([f"{name}-server", str(config)], executable=PROGRAMS[name])
    client = redis.Redis(port=port, password=PASSWORD)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False

    try:
        wait_for(answers, 30, f"a server of {name}")
        client.close()
        yield f"redis://:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:{port}/3"
    finally:
        process.kill()
        process.wait()


def publish(url: str, kinds: dict[str, dict[str, Any]], count: int) -> list[str]:
    """Publish so many tasks of each kind as an application does that has no fleet.

    Args:
        url: The broker.
        kinds: Options of `send_task` by the task's name.
        count: How many of each.

    Returns:
        Their ids, in order.
    """
    app = Celery("old", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"queue_order_strategy": "priority"}
    ids = []
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for number in range(count):
            for name, options in kinds.items():
                sent = app.send_task(name, (number,), producer=producer, ignore_result=True, **options)
                ids.append(sent.id)
    app.close()
    return ids


def hold(url: str, queue: str, count: int) -> None:
    """Let a worker take so many messages of a queue and be killed."""
    child = os.fork()
    if child == 0:
        try:
            connection = Connection(url)
            seen: list[object] = []
            consumer = connection.Consumer(
                [Queue(queue)], callbacks=[lambda _, message: seen.append(message)]
            )
            consumer.qos(prefetch_count=count)
            consumer.consume()
            while len(seen) < count:
                connection.drain_events(timeout=20)
        except BaseException:
            traceback.print_exc()
        finally:
            # A connection that ends in any other way gives everything back.
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def later(hours: float) -> datetime:
    """Return a time to come."""
    return datetime.now(UTC) + timedelta(hours=hours)


# Where a move speaks to a broker.
EVERY_MESSAGE = ((socket.socket, "sendall"),)


def killed_all_along(
    move: Callable[[], object],
    times: Iterable[int],
    batch: int = 8,
    points: Sequence[tuple[type, str]] = EVERY_MESSAGE,
) -> None:
    """Let a move be killed, each time at another point.

    Args:
        move: The move.
        times: Before which point each run is killed; they count from when it knows what earlier ones left.
        batch: Tasks at once.
        points: Methods before which it can be.
    """
    work = mover._Run.work
    working: list[bool] = []

    def counted(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **named: Any) -> object:
            if working:
                kills.step()
            return method(*arguments, **named)

        return call

    def begun(self: mover._Run) -> bool:
        working.append(True)
        return work(self)

    def patched() -> None:
        with ExitStack() as patches:
            for owner, name in points:
                patches.enter_context(patch.object(owner, name, counted(getattr(owner, name))))
            patches.enter_context(patch.object(mover._Run, "work", begun))
            patches.enter_context(patch.object(mover, "BATCH", batch))
            move()

    for number in times:
        assert kills.run(patched, number) is not kills.End.WORK, f"at its end before point {number}"
