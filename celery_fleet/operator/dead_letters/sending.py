"""Publish a dead letter again, to a queue that its own key does not lead to."""

from __future__ import annotations

from typing import Any

from amqp import Message
from amqp.exceptions import MessageNacked

from celery_fleet.errors import DeadLettersError
from celery_fleet.fleet import Queue
from celery_fleet.protocol import REPLY_TIMEOUT
from celery_fleet.publishing import published

# Headers that the broker wrote about the deaths and deliveries of a message; it starts anew.
_OF_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


def own_headers(message: Message) -> dict[str, Any]:
    """Return the headers of a message that its publisher wrote."""
    headers = message.properties.get("application_headers") or {}
    return {name: value for name, value in headers.items() if not str(name).startswith(_OF_BROKER)}


def send_again(connection: Any, message: Message, exchange: str, queue: Queue) -> None:  # noqa: ANN401
    """Publish a message as it is to a queue, and return when the broker has stored it.

    Args:
        connection: An open connection of amqp.
        message: A message that was received.
        exchange: The queue's exchange.
        queue: The queue.

    Raises:
        DeadLettersError: The queue is full, or does not exist.
    """
    returned: list[object] = []
    kept = own_headers(message)
    if published.HEADER in kept:
        kept = published.stamped(kept)
    properties = {**message.properties, "application_headers": kept}
    # The broker lets nobody publish in the name of another, as the scheduler's tasks are.
    properties.pop("user_id", None)
    with connection.channel() as channel:
        channel.events["basic_return"].add(lambda *_: returned.append(True))
        try:
            channel.basic_publish_confirm(
                Message(message.body, **properties),
                exchange=exchange,
                routing_key=queue.routing_key,
                mandatory=True,
                timeout=REPLY_TIMEOUT,
            )
        except MessageNacked as error:
            raise DeadLettersError(
                f"queue {queue.name} is full. What was not sent is where it was; run again when there is room"
            ) from error
    if returned:
        raise DeadLettersError(
            f"the broker has no queue {queue.name} as the fleet knows it; run the broker play"
        )
