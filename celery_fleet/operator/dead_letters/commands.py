"""What an operator does with dead letters: look, send back, delete, export."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from amqp import Message
from kombu import Connection
from kombu.exceptions import OperationalError

from celery_fleet.connection import CONNECT_TIMEOUT, connect, transport_options
from celery_fleet.errors import DeadLettersError
from celery_fleet.files import read_password
from celery_fleet.fleet import Fleet
from celery_fleet.nodes import urls
from celery_fleet.operator.dead_letters.letters import DeadLetter, Found, Selection, exported
from celery_fleet.operator.dead_letters.sending import send_again
from celery_fleet.operator.dead_letters.visit import Visit

# What a dead-letter queue's name ends with.
DEAD = "_dead"


def read_exported(path: str) -> frozenset[str]:
    """Read which dead letters an export holds.

    Args:
        path: A file that `export` wrote.

    Returns:
        Their keys.

    Raises:
        DeadLettersError: The file cannot be read or is no export.
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

    Args:
        fleet: The fleet.
        progress: Called with a line for a person as the run goes on.
    """

    def __init__(self, fleet: Fleet, progress: Callable[[str], None] = print) -> None:
        self.fleet = fleet
        self.progress = progress

    def look(self, selection: Selection) -> Found:
        """Read the dead letters and leave everything as it was.

        Args:
            selection: Which ones are given.

        Returns:
            They, and how many there are.

        Raises:
            DeadLettersError: The broker cannot be reached, or somebody else is at work on the dead letters.
        """
        return self._run(selection, lambda *_: None)

    def send_back(self, selection: Selection, to: str | None = None) -> Found:
        """Have the broker move dead letters to where they came from, or publish them to another queue.

        The broker keeps those for which there is no room yet, and moves them later. A letter whose routing
        key leads to no queue of the fleet stays where it is, unless a queue is named.

        Args:
            selection: Which ones.
            to: The queue to which they go instead. Each is stored there before it leaves the dead letters, so
                that an interruption doubles one at most.

        Returns:
            They; `done` is how many were handed to the broker.

        Raises:
            DeadLettersError: As `look` does.
        """
        if to is not None:
            return self._send(selection, to)
        return self._run(
            selection,
            lambda channel, tag, letter: letter.returns_to and channel.basic_reject(tag, requeue=False),
        )

    def _send(self, selection: Selection, to: str) -> Found:
        addresses = self.fleet.addresses()
        if to not in addresses:
            raise DeadLettersError(f"no pool has the queue {to}; the queues are {', '.join(addresses)}")
        pool, queue = addresses[to]
        messages: dict[int, Message] = {}

        def publish(channel: Any, tag: int, _letter: DeadLetter) -> bool:  # noqa: ANN401 - amqp has no types
            send_again(channel.connection, messages[tag], pool.exchange, queue)
            channel.basic_ack(tag)
            return True

        return self._run(
            selection, publish, lambda message, _: messages.update({message.delivery_tag: message})
        )

    def delete(self, selection: Selection) -> Found:
        """Delete dead letters for good.

        Args:
            selection: Which ones.

        Returns:
            They; `done` is how many were deleted.

        Raises:
            DeadLettersError: As `look` does.
        """
        return self._run(selection, lambda channel, tag, _: channel.basic_ack(tag))

    def export(self, selection: Selection, path: str) -> Found:
        """Write dead letters with headers, properties and body to a file, one JSON object a line.

        Args:
            selection: Which ones.
            path: The file, which must not exist. It appears when it is complete, and only its owner may
                read it.

        Returns:
            They.

        Raises:
            DeadLettersError: As `look` does, or the file exists or cannot be written.
        """
        try:
            with _new_file(path) as file:
                return self._run(
                    selection,
                    lambda *_: None,
                    lambda message, letter: file.write(json.dumps(exported(message, letter)) + "\n"),
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
        settled = 0
        with self._alone(), self._connection() as connection:
            for name in self._queues(selection):
                remaining = None if selection.limit is None else selection.limit - len(letters)
                visit = Visit(self.fleet, connection, name, selection, remaining, see)
                totals[name] = visit.total
                letters += visit.letters.values()
                self.progress(f"{name}: {visit.total} dead letters, {len(visit.letters)} selected")
                settled += visit.settle(settle)
        return Found(totals, tuple(letters), settled)

    def _queues(self, selection: Selection) -> list[str]:
        unknown = set(selection.pools) - set(self.fleet.pools)
        if unknown:
            raise DeadLettersError(
                f"no pool {', '.join(sorted(unknown))}; the pools are {', '.join(self.fleet.pools)}"
            )
        known = self.fleet.dead_letters.queues
        # Queues that the model no longer has, and that its rights still reach.
        former = [name for name in selection.queues if name.endswith(DEAD) and name not in known]
        if former and len(former) == len(selection.queues):
            return former
        return [
            *(name for name, pools in known.items() if not selection.pools or {*pools} & {*selection.pools}),
            *former,
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


@contextmanager
def _new_file(path: str) -> Iterator[IO[str]]:
    """Open a file that appears under its name when it is complete, and never replaces another one."""
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
