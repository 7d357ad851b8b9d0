"""The tasks that died: look at them, send them back, write them to a file, delete them.

Nothing is taken out of a dead-letter queue to be put somewhere else by this process: that could be cut in
half. A message goes back because it is rejected here and the queue's policy dead-letters it to the exchange
that it came from, which the broker does in one step. Whoever only looks gives everything back in its order
by closing the channel.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from amqp import Message
from amqp.exceptions import AccessRefused, NotFound
from kombu import Connection
from kombu.exceptions import OperationalError

from celery_fleet.connection import CONNECT_TIMEOUT, connect, transport_options, urls
from celery_fleet.errors import DeadLettersError
from celery_fleet.fleet_file import Fleet, read_password

# Seconds without a message after which those that were counted are no longer awaited.
SILENCE = 10.0

# What one consumer may hold. All of it stays unacknowledged until the end, so that the order does.
MOST = 65_535

# The channel keeps further commands to itself, and forgets them when it is closed, once this many (32) are
# not yet applied by the queue. So there are fewer, and then a question that the queue answers after them.
COMMANDS_AT_ONCE = 16

# What makes a delayed task wait also leaves its mark; it died of something else.
DELAYED = "celery_delayed_"

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead task.

    `key` tells this death of this task from every other; `queue` and `reason` are those of its last death,
    `times` how often it died in that queue, `sent_back` how often it was sent back, and `died` (seconds
    since 1970) when it died there for the first time.
    """

    key: str
    id: str | None
    task: str | None
    dead_queue: str
    queue: str | None
    reason: str
    times: int
    sent_back: int
    died: float | None
    returns_to: str | None


@dataclass(frozen=True)
class Selection:
    """Which dead letters are meant: those that fit in all that is given, the oldest `limit` of them."""

    pools: Sequence[str] = ()
    queues: Sequence[str] = ()
    tasks: Sequence[str] = ()
    ids: Sequence[str] = ()
    reasons: Sequence[str] = ()
    older_than: float = 0
    limit: int | None = None
    keys: frozenset[str] | None = None

    def fits(self, letter: DeadLetter, now: float) -> bool:
        """Say whether a dead letter is meant, apart from the limit."""
        wanted = (
            not self.queues or letter.queue in self.queues or letter.dead_queue in self.queues,
            not self.tasks or any(fnmatchcase(letter.task or "", pattern) for pattern in self.tasks),
            not self.ids or letter.id in self.ids,
            not self.reasons or letter.reason in self.reasons,
            not self.older_than or (letter.died is not None and now - letter.died > self.older_than),
            self.keys is None or letter.key in self.keys,
        )
        return all(wanted)


@dataclass(frozen=True)
class Found:
    """What a run met: how many letters each dead-letter queue holds, and those that were selected."""

    totals: Mapping[str, int]
    letters: tuple[DeadLetter, ...]
    done: int = 0

    def as_dict(self, details: int | None = None, now: float | None = None) -> dict[str, Any]:
        """Give it as plain data, with at most so many single letters."""
        now = time.time() if now is None else now
        selected = Counter(letter.dead_queue for letter in self.letters)
        return {
            "queues": {
                name: {"total": total, "selected": selected[name]} for name, total in self.totals.items()
            },
            "selected": len(self.letters),
            "done": self.done,
            "summary": _summary(self.letters, now),
            "letters": [
                {**asdict(letter), "age": _age(letter, now)} for letter in self.letters[slice(details)]
            ],
        }


def read_exported(path: str) -> frozenset[str]:
    """Read which dead letters an export holds.

    Parameters
    ----------
    path:
        A file that `export` wrote.

    Returns
    -------
    frozenset of str
        Their keys.

    Raises
    ------
    DeadLettersError
        The file cannot be read or is no export.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            return frozenset(json.loads(line)["key"] for line in lines)
    except OSError as error:
        raise DeadLettersError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DeadLettersError(f"{path}: not an export of dead letters: {error!r}") from error


class DeadLetters:
    """The dead-letter queues of a fleet, for one run.

    Parameters
    ----------
    fleet:
        The fleet.
    progress:
        Called with a line for a person as the run goes on.
    """

    def __init__(self, fleet: Fleet, progress: Callable[[str], None] = print) -> None:
        self.fleet = fleet
        self.progress = progress

    def look(self, selection: Selection) -> Found:
        """Read the dead letters and leave everything as it was.

        Parameters
        ----------
        selection:
            Which ones are given.

        Returns
        -------
        Found
            They, and how many there are.

        Raises
        ------
        DeadLettersError
            The broker cannot be reached, or somebody else is at work on the dead letters.
        """
        return self._run(selection, lambda *_: None)

    def send_back(self, selection: Selection) -> Found:
        """Let the broker move dead letters to the queues that they came from.

        The broker keeps those for which there is no room yet, and moves them later. A letter whose routing
        key leads to no queue of the fleet stays where it is.

        Parameters
        ----------
        selection:
            Which ones.

        Returns
        -------
        Found
            They; `done` is how many were handed to the broker.

        Raises
        ------
        DeadLettersError
            As `look` does.
        """
        return self._run(
            selection,
            lambda channel, tag, letter: letter.returns_to and channel.basic_reject(tag, requeue=False),
        )

    def delete(self, selection: Selection) -> Found:
        """Delete dead letters for good.

        Parameters
        ----------
        selection:
            Which ones.

        Returns
        -------
        Found
            They; `done` is how many were deleted.

        Raises
        ------
        DeadLettersError
            As `look` does.
        """
        return self._run(selection, lambda channel, tag, _: channel.basic_ack(tag))

    def export(self, selection: Selection, path: str) -> Found:
        """Write dead letters with headers, properties and body to a file, one JSON object a line.

        Parameters
        ----------
        selection:
            Which ones.
        path:
            The file, which must not exist. It appears when it is complete, and only its owner may read it.

        Returns
        -------
        Found
            They.

        Raises
        ------
        DeadLettersError
            As `look` does, or the file exists or cannot be written.
        """
        try:
            with _new_file(path) as file:
                return self._run(
                    selection,
                    lambda *_: None,
                    lambda message, letter: file.write(json.dumps(_exported(message, letter)) + "\n"),
                )
        except OSError as error:
            raise DeadLettersError(f"{path}: cannot be written: {error.strerror}") from error

    def _run(
        self,
        selection: Selection,
        settle: Callable[[Any, int, DeadLetter], object],
        see: Callable[[Message, DeadLetter], object] = lambda *_: None,
    ) -> Found:
        totals: dict[str, int] = {}
        letters: list[DeadLetter] = []
        done = 0
        with self._alone(), self._connection() as connection:
            for name in self._queues(selection):
                left = None if selection.limit is None else selection.limit - len(letters)
                visit = _Visit(self.fleet, connection, name, selection, left, see)
                totals[name] = visit.total
                letters += visit.letters.values()
                self.progress(f"{name}: {visit.total} dead letters, {len(visit.letters)} selected")
                done += visit.settle(settle)
        return Found(totals, tuple(letters), done)

    def _queues(self, selection: Selection) -> list[str]:
        unknown = set(selection.pools) - set(self.fleet.pools)
        if unknown:
            raise DeadLettersError(
                f"no pool {', '.join(sorted(unknown))}; the pools are {', '.join(self.fleet.pools)}"
            )
        return [
            name
            for name, pools in self.fleet.dead_letters.queues.items()
            if not selection.pools or set(pools) & set(selection.pools)
        ]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second run on this host away, which would see only what this one leaves."""
        path = self.fleet.dead_letters.password_file
        read_password(path)
        with Path(path).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DeadLettersError(
                    "another run is at work on the dead letters; wait for its end"
                ) from error
            yield

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        fleet = self.fleet
        connection = connect(
            urls(fleet.broker, fleet.dead_letters.user),
            connect_timeout=CONNECT_TIMEOUT,
            transport_options=transport_options(fleet.broker, fleet.dead_letters.password_file),
        )
        try:
            with connection:
                connection.ensure_connection(max_retries=2 * len(fleet.broker.nodes), interval_start=0.5)
                yield connection
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            raise DeadLettersError(
                f"lost the broker at {connection.as_uri()}, or never reached it: {error}. Nothing is half "
                "done: what was not settled is in its queue as before; run again"
            ) from error


class _Visit:
    """One dead-letter queue: everything in it is held until the end, and what was not settled goes back."""

    def __init__(
        self,
        fleet: Fleet,
        connection: Connection,
        name: str,
        selection: Selection,
        limit: int | None,
        see: Callable[[Message, DeadLetter], object],
    ) -> None:
        self.fleet, self.name, self.selection, self.limit, self.see = fleet, name, selection, limit, see
        self.connection = connection
        self.channel = connection.channel()
        self.letters: dict[int, DeadLetter] = {}
        self.seen = 0
        self.now = time.time()
        try:
            self.total = self._count()
            self._read()
        except AccessRefused as error:
            raise DeadLettersError(f"user {fleet.dead_letters.user} may not read {name}: {error}") from error

    def settle(self, settle: Callable[[Any, int, DeadLetter], object]) -> int:
        """Settle the selected messages, give the others back, and count the settled ones."""
        done = 0
        for tag, letter in self.letters.items():
            if settle(self.channel, tag, letter) is not None:
                done += 1
                if done % COMMANDS_AT_ONCE == 0:
                    self._await_commands()
        self._await_commands()
        self.channel.close()
        return done

    def _count(self) -> int:
        """Count the messages, when nobody else has any."""
        end = time.monotonic() + SILENCE
        while True:
            try:
                count = self.channel.queue_declare(self.name, passive=True)
            except NotFound as error:
                raise DeadLettersError(f"the broker has no queue {self.name}; run the broker play") from error
            if not count.consumer_count:
                return int(count.message_count)
            # The broker may not have noticed yet that an earlier run was killed.
            if time.monotonic() > end:
                raise DeadLettersError(f"somebody else consumes {self.name}; wait for its end")
            time.sleep(0.1)

    def _read(self) -> None:
        self.channel.basic_qos(0, MOST, False)
        self.channel.basic_consume(self.name, callback=self._take)
        while self.seen < min(self.total, MOST):
            try:
                self.connection.drain_events(timeout=SILENCE)
            except TimeoutError as error:
                raise DeadLettersError(
                    f"{self.name}: only {self.seen} of {self.total} dead letters came; somebody else holds "
                    "the others, or the queue has no majority"
                ) from error

    def _take(self, message: Message) -> None:
        self.seen += 1
        # What arrives now, perhaps because it was sent back and died again, is for the next run.
        if self.seen > self.total or (self.limit is not None and len(self.letters) >= self.limit):
            return
        letter = _letter(self.fleet, self.name, message)
        if self.selection.fits(letter, self.now):
            self.letters[message.delivery_tag] = letter
            self.see(message, letter)

    def _await_commands(self) -> None:
        # The answer does not matter; should it be a message, it goes back with the others.
        self.channel.basic_get(self.name)


def _letter(fleet: Fleet, name: str, message: Message) -> DeadLetter:
    headers: dict[str, Any] = message.headers or {}
    deaths: list[dict[str, Any]] = headers.get("x-death") or []
    # The latest comes first.
    own = next(
        (death for death in deaths if death["queue"] != name and not death["queue"].startswith(DELAYED)), None
    )
    queue = own["queue"] if own else None
    times = sum(death["count"] for death in deaths if death["queue"] == queue)
    sent_back = sum(death["count"] for death in deaths if death["queue"] == name)
    key = str(message.delivery_info["routing_key"])
    about = json.dumps([name, headers.get("id"), headers.get("task"), key, queue, times, sent_back])
    return DeadLetter(
        key=hashlib.sha256(about.encode() + b"\0" + _bytes(message.body)).hexdigest()[:32],
        id=headers.get("id"),
        task=headers.get("task"),
        dead_queue=name,
        queue=queue,
        reason=own["reason"] if own else UNKNOWN,
        times=times,
        sent_back=sent_back,
        died=own["time"].replace(tzinfo=UTC).timestamp() if own and "time" in own else None,
        returns_to=_target(fleet, name, key),
    )


def _target(fleet: Fleet, name: str, routing_key: str) -> str | None:
    """Give the queue to which a message goes back: its key is the queue's, with a delay in front or not."""
    return next(
        (
            queue.name
            for pool in fleet.dead_letters.queues[name]
            for queue in fleet.pools[pool].queues
            if routing_key == queue.routing_key
            or (fleet.pools[pool].exchange_type == "topic" and routing_key.endswith(f".{queue.routing_key}"))
        ),
        None,
    )


def _summary(letters: Sequence[DeadLetter], now: float) -> list[dict[str, Any]]:
    groups: dict[tuple[str | None, str, str | None], list[DeadLetter]] = {}
    for letter in letters:
        groups.setdefault((letter.task, letter.reason, letter.queue), []).append(letter)
    return [
        {
            "task": task,
            "reason": reason,
            "queue": queue,
            "count": len(group),
            "sent_back": max(letter.sent_back for letter in group),
            "oldest": max((age for letter in group if (age := _age(letter, now)) is not None), default=None),
            "unroutable": sum(letter.returns_to is None for letter in group),
        }
        for (task, reason, queue), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _age(letter: DeadLetter, now: float) -> int | None:
    return None if letter.died is None else max(0, round(now - letter.died))


def _exported(message: Message, letter: DeadLetter) -> dict[str, Any]:
    body = _bytes(message.body)
    try:
        text, encoding = body.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(body).decode(), "base64"
    properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
    return {
        **asdict(letter),
        "routing_key": message.delivery_info["routing_key"],
        "properties": _plain(properties),
        "headers": _plain(message.headers or {}),
        "body_encoding": encoding,
        "body": text,
    }


def _bytes(body: str | bytes | bytearray | memoryview) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON knows
    """Turn what AMQP knows and JSON does not into text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


@contextmanager
def _new_file(path: str) -> Iterator[IO[str]]:
    """Give a file that is there under its name when it is complete, and never replaces another one."""
    target = Path(path)
    # Its mode is 0600.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(draft)
    finally:
        draft.unlink()
