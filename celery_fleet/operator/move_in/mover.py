"""The move itself: from the old broker to the staging queue, and from there to the fleet's queues."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

from celery_fleet.connection import CONNECT_TIMEOUT, connect, transport_options
from celery_fleet.fleet import Fleet
from celery_fleet.nodes import urls
from celery_fleet.operator.move_in.amqp_source import AmqpSource
from celery_fleet.operator.move_in.options import MoveInError, Options
from celery_fleet.operator.move_in.redis_layout import errors, shown
from celery_fleet.operator.move_in.redis_source import RedisSource
from celery_fleet.operator.move_in.staging import Staging
from celery_fleet.operator.move_in.task import Addresses, Task

# Tasks at once.
BATCH = 200
# Seconds between two attempts while the staging queue is full.
PAUSE = 0.5


def move(fleet: Fleet, options: Options, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Move tasks for some seconds.

    Args:
        fleet: The fleet.
        options: From where, and how.
        progress: Called with a line for a person.

    Returns:
        Counts of the old broker `before` and `after`; how many were `moved` to each queue; whether the move
        is `done`; whether it `waits` for room in the fleet's queues; and what stays, as `notes`.

    Raises:
        MoveInError: A broker cannot be reached, or another run is at work.
    """
    addresses = Addresses(fleet, {old: new for old, new in (options.queues or {}).items() if new})
    unknown = set((options.queues or {}).values()) - {"", *fleet.addresses()}
    if unknown:
        raise MoveInError(f"no pool has the queue {', '.join(sorted(unknown))}")
    kind = RedisSource if options.source.partition(":")[0] in ("redis", "rediss") else AmqpSource
    place = options.source.rpartition("@")[2]
    source: RedisSource | AmqpSource | None = None
    try:
        source = kind(options, fleet.broker.max_message_size)
        before = source.counts()
        if options.look:
            found = Counter(addresses.of(task)[0] for task in source.preview())
            result: dict[str, Any] = {"moved": dict(found), "done": False, "waits": False}
        else:
            with _reached(fleet, options) as connection:
                staging = Staging(connection, options.exchange, options.queue)
                result = _Run(staging, source, addresses, options).run()
        progress(f"{place}: {sum(result['moved'].values())} tasks")
        return {"before": shown(before), "after": shown(source.counts()), "notes": source.notes, **result}
    except (*errors(), OperationalError) as error:
        raise MoveInError(
            f"lost the old broker at {place} or the fleet's, or never reached it: {type(error).__name__}: "
            f"{error}. Nothing is lost: run again"
        ) from error
    finally:
        if source is not None:
            source.close()


@contextmanager
def _reached(fleet: Fleet, options: Options) -> Iterator[Connection]:
    """Connect to the fleet's broker as the move's own user, whose password is in no file."""
    secret = os.memfd_create("password")
    os.write(secret, options.password.encode())
    try:
        with connect(
            urls(fleet.broker, options.user),
            connect_timeout=CONNECT_TIMEOUT,
            transport_options={
                **transport_options(fleet.broker, f"/proc/self/fd/{secret}"),
                # Many at once are confirmed together.
                "confirm_publish": False,
            },
        ) as connection:
            connection.ensure_connection(max_retries=2 * len(fleet.broker.nodes), interval_start=0.5)
            yield connection
    finally:
        os.close(secret)


class _Run:
    def __init__(
        self, staging: Staging, source: RedisSource | AmqpSource, addresses: Addresses, options: Options
    ) -> None:
        self.staging, self.source, self.addresses = staging, source, addresses
        self.rate = options.rate
        self.size = max(1, min(BATCH, int(options.rate))) if options.rate else BATCH
        self.seconds = options.seconds or source.seconds
        self.moved: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        if not self.staging.open():
            return self.result(waits=True)
        self.begun = time.monotonic()
        self.end = self.begun + self.seconds
        # What an earlier run published, and may not have taken from the old broker.
        self.left = Counter({id_: len(tags) for id_, tags in self.staging.held.items()})
        clean = not self.left
        while True:
            if self.source.complete and self.left:
                self.release([*self.left.elements()])
                self.left.clear()
            tasks = self.source.take(self.size)
            if not tasks and not self.left:
                return self.result(done=clean and not self.moved)
            if not self.take(tasks):
                return self.result(waits=True)
            self.pace()
            if time.monotonic() >= self.end:
                return self.result()

    def take(self, tasks: Sequence[Task]) -> bool:
        """Move tasks, and return whether there was room for all."""
        known = []
        for task in tasks:
            if task.again and self.left[task.id]:
                self.left[task.id] -= 1
                known.append(task)
        self.settle(known)
        new = {task.id: task for task in tasks if task not in known}
        while new:
            messages = {id_: (task.message(), self.addresses.of(task)[1]) for id_, task in new.items()}
            refused = self.staging.store(messages)
            self.settle([task for id_, task in new.items() if id_ not in refused])
            new = {id_: new[id_] for id_ in refused}
            if new and time.monotonic() >= self.end:
                return False
            if new:
                time.sleep(PAUSE)
        return True

    def settle(self, tasks: list[Task]) -> None:
        """Take published tasks from the old broker, and only then let the fleet have them."""
        self.source.forget(tasks)
        self.release([task.id for task in tasks])

    def release(self, ids: list[str]) -> None:
        self.moved.update(map(self.addresses.named, self.staging.release(ids)))

    def pace(self) -> None:
        """Wait as long as the rate asks."""
        if self.rate:
            due = self.begun + self.moved.total() / self.rate
            time.sleep(max(0, min(due, self.end) - time.monotonic()))

    def result(self, *, done: bool = False, waits: bool = False) -> dict[str, Any]:
        return {"moved": dict(self.moved), "done": done, "waits": waits}
