"""The move itself: from the old broker to the staging queue, and from there to the fleet's queues."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any, Protocol

from kombu import Connection
from kombu.exceptions import OperationalError

from celery_fleet.connection import CONNECT_TIMEOUT, connect, transport_options
from celery_fleet.fleet import Fleet, Node
from celery_fleet.nodes import urls
from celery_fleet.operator.move_in.amqp_source import AmqpSource
from celery_fleet.operator.move_in.former import Addressed, FormerBroker, Route
from celery_fleet.operator.move_in.options import MoveInError, Options
from celery_fleet.operator.move_in.redis_layout import errors, shown
from celery_fleet.operator.move_in.redis_source import RedisSource
from celery_fleet.operator.move_in.staging import Staging
from celery_fleet.operator.move_in.task import Addresses

_Source = RedisSource | AmqpSource

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
        is `done`; whether it `waits` for room in the fleet's queues; what stays, as `notes`; and queues that
        were `held` by workers which finish their tasks.

    Raises:
        MoveInError: A broker cannot be reached, or another run is at work.
    """
    place = options.source.rpartition("@")[2]
    if options.nodes:
        nodes = tuple(Node(host, port) for host, port in options.nodes)
        fleet = replace(fleet, broker=replace(fleet.broker, nodes=nodes))
    try:
        with ExitStack() as stack:
            lines = [
                (stack.enter_context(closing(source)), staging, addresses)
                for source, staging, addresses in _lines(fleet, options)
            ]
            sources = [source for source, _, _ in lines]
            before = {name: count for source in sources for name, count in source.counts().items()}
            if options.look:
                found = Counter(
                    addresses.of(task)[0] for source, _, addresses in lines for task in source.preview()
                )
                result: dict[str, Any] = {"moved": dict(found), "done": False, "waits": False}
            else:
                connection = stack.enter_context(_reached(fleet, options))
                runs: list[_Run] = []
                for source, (exchange, queue), addresses in lines:
                    staging = Staging(connection, exchange, queue)
                    runs.append(_Run(staging, source, addresses, options, runs))
                result = _run(runs)
            after = {name: count for source in sources for name, count in source.counts().items()}
            progress(f"{place}: {sum(result['moved'].values())} tasks")
            return {
                "before": shown(before),
                "after": shown(after),
                "notes": [note for source in sources for note in source.notes],
                "held": [name for source in sources for name in source.held],
                **result,
            }
    except (*errors(), OperationalError) as error:
        raise MoveInError(
            f"lost the old broker at {place} or the fleet's, or never reached it: {type(error).__name__}: "
            f"{error}. Nothing is lost: run again"
        ) from error


def _lines(fleet: Fleet, options: Options) -> Iterator[tuple[_Source, tuple[str, str], _Addresses]]:
    """Yield each source with the exchange and the queue of its staging, and where its tasks go."""
    if options.routes:
        for route in (Route(**each) for each in options.routes):
            yield FormerBroker(options, route, fleet.broker), (route.staging,) * 2, Addressed(route)
        return
    addresses = Addresses(fleet, {old: new for old, new in (options.queues or {}).items() if new})
    unknown = set((options.queues or {}).values()) - {"", *fleet.addresses()}
    if unknown:
        raise MoveInError(f"no pool has the queue {', '.join(sorted(unknown))}")
    kind = RedisSource if options.source.partition(":")[0] in ("redis", "rediss") else AmqpSource
    yield kind(options, fleet.broker.max_message_size), (options.exchange, options.queue), addresses


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


class _Addresses(Protocol):
    """Where each task goes: its queue and the key that leads there; and the queue of such a key."""

    def of(self, task: Any) -> tuple[str, str]: ...  # noqa: ANN401 - each has tasks of its own kind

    def named(self, key: str) -> str: ...


class _Run:
    """One source on its way through its staging queue.

    Args:
        staging: The staging queue.
        source: The source.
        addresses: Where its tasks go.
        options: What the run is asked for.
        all_runs: This one and those beside it.
    """

    def __init__(
        self,
        staging: Staging,
        source: _Source,
        addresses: _Addresses,
        options: Options,
        all_runs: list[_Run],
    ) -> None:
        self.staging, self.source, self.addresses, self.all_runs = staging, source, addresses, all_runs
        self.rate = options.rate
        self.size = max(1, min(BATCH, int(options.rate))) if options.rate else BATCH
        self.seconds = options.seconds or source.seconds
        self.moved: Counter[str] = Counter()

    def open(self) -> bool:
        """Learn what an earlier run published and may not have taken from the old broker.

        Returns:
            Whether that can be known.
        """
        if not self.staging.open():
            return False
        self.left = Counter({id_: len(tags) for id_, tags in self.staging.held.items()})
        self.clean = not self.left
        return True

    def work(self) -> bool:
        """Move tasks until there are no more or the time is over, and return whether there was room."""
        self.begun = time.monotonic()
        self.end = self.begun + self.seconds
        while tasks := self.source.take(self.size):
            if not self.take(tasks):
                return False
            self.pace()
            if time.monotonic() >= self.end:
                break
        return True

    def finish(self) -> None:
        """Let the fleet have what is known to have left the old broker."""
        self.release([*self.left.elements()])
        self.left.clear()

    def take(self, tasks: Sequence[Any]) -> bool:
        """Move tasks, and return whether there was room for all."""
        published = [(task, self._published(task)) for task in tasks]
        self.source.forget([task for task, run in published if run])
        for task, run in published:
            if run:
                run.release([task.id])
        new = {task.id: task for task, run in published if not run}
        while new:
            messages = {id_: (task.message(), self.addresses.of(task)[1]) for id_, task in new.items()}
            refused = self.staging.store(messages)
            # Taken from the old broker, and only then the fleet's.
            stored = [task for id_, task in new.items() if id_ not in refused]
            self.source.forget(stored)
            self.release([task.id for task in stored])
            new = {id_: new[id_] for id_ in refused}
            if new and time.monotonic() >= self.end:
                return False
            if new:
                time.sleep(PAUSE)
        return True

    def _published(self, task: Any) -> _Run | None:  # noqa: ANN401 - each source has tasks of its own kind
        """Return the run in whose staging queue an earlier one has published a task; none: nowhere."""
        for run in (self, *(run for run in self.all_runs if run is not self)):
            # At the old broker it has perhaps gone on to another queue since, by the end of its delay.
            if run.left[task.id] and (task.again or run is not self):
                run.left[task.id] -= 1
                return run
        return None

    def release(self, ids: list[str]) -> None:
        self.moved.update(map(self.addresses.named, self.staging.release(ids)))

    def pace(self) -> None:
        """Wait as long as the rate asks."""
        if self.rate:
            due = self.begun + self.moved.total() / self.rate
            time.sleep(max(0, min(due, self.end) - time.monotonic()))


def _run(runs: Sequence[_Run]) -> dict[str, Any]:
    """Move tasks of all sources for some seconds, and return how far that is."""
    room = all(run.open() for run in runs)
    if room:
        room = False not in [run.work() for run in runs]
    # What a source cannot know whether it has is left for the next run.
    if room and all(run.source.complete for run in runs):
        for run in runs:
            run.finish()
        done = all(run.clean and not run.moved for run in runs)
    else:
        done = False
    return {"moved": dict(sum((run.moved for run in runs), Counter())), "done": done, "waits": not room}
