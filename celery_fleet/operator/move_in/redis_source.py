"""A Redis or Valkey as kombu lays it out: lists by queue and priority, and a hash of what workers hold."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator
from typing import Any

from celery_fleet.operator.move_in.options import MoveInError, Options
from celery_fleet.operator.move_in.redis_layout import (
    BINDINGS,
    MOVING,
    SEPARATOR,
    TAKE,
    TAKE_UNACKED,
    UNACKED,
    UNACKED_INDEX,
    errors,
    escaped,
    redis,
    shown_name,
)
from celery_fleet.operator.move_in.task import Place, Task, UnreadableError, read_redis

# Seconds for an answer.
TIMEOUT = 20.0
# Faults that are written out for each list.
NAMED = 20


class RedisSource:
    """The old broker, a Redis or a Valkey.

    What is taken goes to a hash beside the lists, in one step, and leaves it when it is published.

    Args:
        options: What the run is asked for.
        largest: Bytes of the largest message that the fleet's broker takes.

    Attributes:
        complete: Whether all is known that an earlier run had taken.
        seconds: That a run takes.
        notes: What stays, and why.
        held: No queues: whatever workers have is seen.
    """

    seconds = 10.0

    def __init__(self, options: Options, largest: int) -> None:
        if redis is None:
            raise MoveInError("the application's environment has no package redis: lock celery[redis]")
        more: dict[str, Any] = {}
        if options.source.startswith("rediss"):
            more = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
            if options.ca_file:
                more["ssl_ca_certs"] = options.ca_file
        self._client: Any = redis.Redis.from_url(
            options.source, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, **more
        )
        self._prefix, self._largest, self._unacked = options.prefix, largest, options.unacked
        self._db = str(self._client.connection_pool.connection_kwargs.get("db") or 0)
        self._bound = self._bindings()
        queues = options.queues or {}
        self._queues = list(queues) or sorted({queue for _, queue in self._bound})
        self._unreadable: dict[str, dict[bytes, str]] = {}
        self.complete = False
        self.held: list[str] = []
        self._take, self._take_unacked = map(self._client.register_script, (TAKE, TAKE_UNACKED))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _bindings(self) -> dict[tuple[tuple[str, str], str], None]:
        """Return the exchange and routing key of each queue, without those of remote control and events."""
        bound: dict[tuple[tuple[str, str], str], None] = {}
        start = self._key(BINDINGS)
        for key in self._client.scan_iter(match=f"{escaped(start)}*", count=1000):
            exchange = key.decode(errors="replace").removeprefix(start)
            if exchange.endswith(".pidbox") or exchange.startswith("celeryev"):
                continue
            for member in self._client.smembers(key):
                routing_key, _, queue = (*member.decode(errors="replace").split(SEPARATOR), "", "")[:3]
                if queue:
                    bound[(exchange, routing_key), queue] = None
        return bound

    def _lists(self) -> Iterator[tuple[str, str]]:
        """Yield each list and its queue, those first whose tasks would run first."""
        for step in range(10):
            for queue in self._queues:
                yield (f"{queue}{SEPARATOR}{step}" if step else queue), queue

    def counts(self) -> dict[str, int]:
        """Count each list, as LLEN does, what workers hold, and what is on its way."""
        names = [name for name, _ in self._lists()]
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.llen(self._key(name))
        lengths = dict(zip(names, pipe.execute(), strict=True))
        found = {name: count for name, count in lengths.items() if count or name in self._queues}
        found[UNACKED] = self._client.hlen(self._key(UNACKED))
        if moving := self._client.hlen(self._key(MOVING)):
            found[MOVING] = moving
        return found

    @property
    def notes(self) -> list[str]:
        """What cannot be read or may not be taken, in sentences."""
        lines = []
        for name, faults in self._unreadable.items():
            lines += [f"{shown_name(name)}: a message stays: {why}" for why in list(faults.values())[:NAMED]]
            if len(faults) > NAMED:
                lines.append(f"{shown_name(name)}: and {len(faults) - NAMED} more stay")
        if (reason := self._held_back()) and (count := self._client.hlen(self._key(UNACKED))):
            lines.append(f"{UNACKED}: {count} stay: {reason}")
        return lines

    def take(self, count: int) -> list[Task]:
        """Take so many tasks at most; at first those that an earlier run had taken.

        Returns:
            None when there are no more.
        """
        if not self.complete:
            self.complete = True
            if pending := self._pending():
                return pending
        for name, queue in self._lists():
            while chosen := self._look(name, queue, count):
                arguments: list[str | bytes] = [queue]
                for task, raw in chosen:
                    arguments += [task.id, raw]
                taken = set(self._take(keys=[self._key(name), self._key(MOVING)], args=arguments))
                if taken:
                    return [task for task, _ in chosen if task.id.encode() in taken]
        return self._of_workers(count)

    def forget(self, tasks: list[Task]) -> None:
        """Let go of tasks that are published."""
        if tasks:
            self._client.hdel(self._key(MOVING), *(task.id for task in tasks))

    def preview(self) -> Iterator[Task]:
        """Read all tasks, and leave them."""
        for name, queue in self._lists():
            for start in range(0, self._client.llen(self._key(name)), 500):
                for raw in self._client.lrange(self._key(name), start, start + 499):
                    if task := self._read(name, queue, raw):
                        yield task
        if not self._held_back():
            for tag, raw in self._client.hscan_iter(self._key(UNACKED), count=500):
                if task := self._read_unacked(tag, raw):
                    yield task

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _pending(self) -> list[Task]:
        """Read what an earlier run had taken; it was read before."""
        tasks = []
        for id_, stored in self._client.hgetall(self._key(MOVING)).items():
            queue, _, raw = stored.partition(b"\n")
            content = json.loads(raw)
            if isinstance(content, list):
                raw = json.dumps(content[0]).encode()
            place = Place(id_.decode(), MOVING, queue.decode(), again=True)
            tasks.append(read_redis(raw, place, self._largest))
        return tasks

    def _look(self, name: str, queue: str, count: int) -> list[tuple[Task, bytes]]:
        """Return the oldest tasks of a list beside what cannot be read."""
        behind = len(self._unreadable.get(name, ()))
        oldest = self._client.lrange(self._key(name), -(count + behind), -1)
        tasks = [(task, raw) for raw in reversed(oldest) if (task := self._read(name, queue, raw))]
        return tasks[:count]

    def _read(self, name: str, queue: str, raw: bytes) -> Task | None:
        faults = self._unreadable.get(name, {})
        if raw in faults:
            return None
        try:
            return read_redis(raw, Place(uuid.uuid4().hex, name, queue), self._largest)
        except UnreadableError as error:
            self._unreadable.setdefault(name, {})[raw] = f"{error}: {raw[:80]!r}"
            return None

    def _held_back(self) -> str:
        """Return why what workers hold is not taken."""
        if self._unacked != "auto":
            return "" if self._unacked == "yes" else "move_unacked is no"
        try:
            clients = self._client.client_list()
        except errors():
            return "nobody may ask whether workers are connected: stop them, and set move_unacked=yes"
        workers = [
            client
            for client in clients
            if client.get("db") == self._db
            and (client.get("cmd") == "brpop" or int(client.get("psub") or 0) or int(client.get("sub") or 0))
        ]
        return "workers are connected that may run them: stop these, and run again" if workers else ""

    def _of_workers(self, count: int) -> list[Task]:
        """Take tasks that workers held which are gone."""
        if self._held_back():
            return []
        chosen: list[tuple[Task, bytes]] = []
        for tag, raw in self._client.hscan_iter(self._key(UNACKED), count=500):
            if task := self._read_unacked(tag, raw):
                chosen.append((task, tag))
            if len(chosen) >= count:
                break
        arguments = list[str | bytes]()
        for task, tag in chosen:
            arguments += [task.id, tag, task.queue]
        if not arguments:
            return []
        keys = [self._key(name) for name in (UNACKED, MOVING, UNACKED_INDEX)]
        taken = set(self._take_unacked(keys=keys, args=arguments))
        return [task for task, _ in chosen if task.id.encode() in taken]

    def _read_unacked(self, tag: bytes, raw: bytes) -> Task | None:
        try:
            content, exchange, key = json.loads(raw)
            message = json.dumps(content).encode()
            queue = next((queue for pair, queue in self._bound if pair == (exchange, key)), str(key))
        except (ValueError, TypeError, RecursionError):
            self._unreadable.setdefault(UNACKED, {})[raw] = f"is no message of Celery's: {tag!r}"
            return None
        return self._read(UNACKED, queue, message)
