"""One visit to one dead-letter queue: everything in it is held until the end, in its order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from amqp import Message
from amqp.exceptions import AccessRefused, NotFound
from kombu import Connection

from celery_fleet.errors import DeadLettersError
from celery_fleet.fleet import Fleet
from celery_fleet.operator.dead_letters.letters import DeadLetter, Selection, read_letter

# Seconds without a message after which those that were counted are no longer awaited.
SILENCE = 10.0

# What one consumer may hold. All of it stays unacknowledged until the end, so that the order does.
MOST = 65_535

# The channel keeps further commands to itself, and forgets them when it is closed, once this many (32) are
# not yet applied by the queue. So there are fewer, and then a question that the queue answers after them.
COMMANDS_AT_ONCE = 16


class Visit:
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
        settled = 0
        for tag, letter in self.letters.items():
            if settle(self.channel, tag, letter) is not None:
                settled += 1
                if settled % COMMANDS_AT_ONCE == 0:
                    self._await_commands()
        self._await_commands()
        # Else what goes back would come here again, and count as a failed delivery when the channel closes.
        self.channel.basic_cancel(self.consumer)
        self.channel.basic_nack(0, multiple=True)
        self.channel.close()
        return settled

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
        self.consumer = self.channel.basic_consume(self.name, callback=self._take)
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
        letter = read_letter(self.fleet, self.name, message)
        if self.selection.fits(letter, self.now):
            self.letters[message.delivery_tag] = letter
            self.see(message, letter)

    def _await_commands(self) -> None:
        # The answer does not matter; should it be a message, it goes back with the others.
        self.channel.basic_get(self.name)
