"""A producer that returns only when the broker has stored the message, and raises otherwise."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from amqp.exceptions import MessageNacked
from kombu import Producer

from celery_fleet.errors import MessageTooLargeError, QueueFullError, UnroutableError
from celery_fleet.fleet import MAX_MESSAGE_SIZE

# Seconds a publisher waits for room in a full queue before it raises. Long enough for a burst to
# be worked off, short enough for the request of a web application.
PATIENCE = 20.0

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


def delays(patience: float) -> Iterator[float]:
    """Return the seconds to wait between attempts: doubling, jittered, `patience` in sum at most.

    The jitter keeps the publishers of a fleet from knocking at a full queue all at once.
    """
    remaining, delay = patience, FIRST_DELAY
    while remaining > 0:
        pause = min(remaining, delay * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
        yield pause
        remaining -= pause
        delay = min(delay * 2, LONGEST_DELAY)


class FleetProducer(Producer):
    """Publishes with back-off while the queue is full, and never loses a message silently.

    Its connection must have publisher confirms on.

    Args:
        patience: Seconds to go on trying when the queue is full.
        largest: Bytes of the largest message that the broker takes.
    """

    def __init__(
        self,
        *args: object,
        patience: float = PATIENCE,
        largest: int = MAX_MESSAGE_SIZE,
        **kwargs: object,
    ) -> None:
        self.patience, self.largest = patience, largest
        super().__init__(*args, **kwargs)

    # Kombu takes a refusal for a broken connection and reconnects at once, four times in a few
    # milliseconds. This is the method inside that loop, so the refusal never gets there.
    def _publish(self, body: str | bytes, *args: object, **options: object) -> object:
        size = len(body.encode() if isinstance(body, str) else body)
        if size > self.largest:  # the broker would close the channel
            raise MessageTooLargeError(size, self.largest)
        for delay in delays(self.patience):
            try:
                return self._publish_once(body, *args, **options)
            except MessageNacked:
                time.sleep(delay)
        try:
            return self._publish_once(body, *args, **options)
        except MessageNacked as error:
            routing_key, exchange = args[5], args[8]  # in the order in which Kombu passes them
            raise QueueFullError(
                f"the queue of {exchange} with key {routing_key} is full and was so for {self.patience:g} s"
            ) from error

    def _publish_once(self, *args: object, **options: object) -> object:
        returned: list[tuple[Exception, str, str]] = []

        def note(error: Exception, exchange: str, routing_key: str, _message: object) -> None:
            returned.append((error, exchange, routing_key))

        # Without a handler the client raises while the confirmation of this message is still on
        # its way, and takes it for that of the next one. With confirms a return comes first, so
        # it is here when the publish ends.
        handlers = self.channel.events["basic_return"]
        handlers.add(note)
        try:
            result = super()._publish(*args, **options)
        finally:
            handlers.discard(note)
        if returned:
            error, exchange, routing_key = returned[0]
            raise UnroutableError(f"{exchange} has no queue for key {routing_key}: {error}") from error
        return result
