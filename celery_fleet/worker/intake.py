"""Where messages enter a worker: none may end it, and a broken one is a dead letter at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pickle import PickleError

from celery import Celery
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu import Message

from celery_fleet.minors import acknowledging_at_once
from celery_fleet.worker import envelope
from celery_fleet.worker.inflation import limit_decompression

logger = logging.getLogger(__name__)

# What a message can raise where its task is given to the pool. Others say that the pool cannot run any.
BROKEN = (ArithmeticError, AttributeError, LookupError, PickleError, RecursionError, TypeError, ValueError)

# Characters of a reason that are logged.
_LONGEST_REASON = 500


class GuardedConsumer(Consumer):
    """Celery's consumer, which lets whole messages in and refuses the others.

    A refused message is rejected without being put back, so that the queue's policy makes it a dead letter;
    what was received before and after it does not notice.

    Attributes:
        on_refused: Called for each of them.
    """

    def __init__(self, *args: object, app: Celery, **kwargs: object) -> None:
        # Kombu decompresses a body while it receives it, before anything here sees the message.
        limit_decompression(app.amqp.fleet.broker.max_message_size)
        self.on_refused: Callable[[], object] = lambda: None
        super().__init__(*args, app=app, **kwargs)

    def create_task_handler(self, *args: object, **kwargs: object) -> Callable[[Message], None]:
        """Make what is called with each message, of which Celery's own gets those that it can handle."""
        with acknowledging_at_once(self):
            handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Message) -> None:
            try:
                envelope.check(message)
            except Exception as error:  # whatever a stranger's message holds
                self.refuse(message, error)
                return
            try:
                handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except Exception as error:  # as above
                self._forget(message)
                self.refuse(message, error)

        return receive

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Reject a message that cannot be decoded; Celery would acknowledge it."""
        self.refuse(message, exc)

    def on_unknown_message(self, body: object, message: Message) -> None:
        """Reject a message that is not a task."""
        self.refuse(message, "it is no task")

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:
        """Reject a task that Celery cannot read."""
        self.refuse(message, exc)

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        """Reject a task that the application does not have; Celery reports it to those who wait for it."""
        self.refuse(message, f"the application has no such task: {exc}")
        try:
            super().on_unknown_task(body, message, exc)
        except Exception as error:  # the result backend's, with what the message says of results
            logger.warning("Nobody was told that a task is unknown: %s", clean(error))

    def refuse(self, message: Message, reason: object) -> None:
        """Make a message a dead letter, unless it was settled before.

        Args:
            message: The message.
            reason: Why.
        """
        headers = message.headers if isinstance(message.headers, dict) else {}
        logger.error(
            "A message was refused and is a dead letter now: %s. Task %s, id %s, routing key %s",
            clean(reason),
            *map(clean, (headers.get("task"), headers.get("id"), message.delivery_info.get("routing_key"))),
        )
        # A command for the worker itself is never acknowledged.
        if message.delivery_info.get("consumer_tag") in (message.channel.no_ack_consumers or ()):
            return
        if not message.acknowledged:
            self.on_refused()
            message.reject_log_error(logger, self.connection_errors)

    def refuse_task(self, request: Request, reason: Exception, *, again: bool = False) -> None:
        """Make a task a dead letter that cannot be given to the pool, or whose end cannot be recorded.

        Args:
            request: The task.
            reason: Why.
            again: Whether to have it delivered again instead, as far as its queue's limit goes.
        """
        logger.error(
            "A task was refused and %s now: %s. Task %s, id %s",
            "is delivered again" if again else "is a dead letter",
            *map(clean, (reason, request.name, request.id)),
        )
        state.task_ready(request)
        if not again:
            self.on_refused()
        request.reject(requeue=again)

    @staticmethod
    def _forget(message: Message) -> None:
        for request in list(state.requests.values()):
            if request.message is message:
                state.task_ready(request)


def clean(value: object) -> str:
    """Return a value as text of one line that a log can hold, whatever a stranger wrote into it."""
    try:
        text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(value)
    except Exception:  # nested too deep, for example
        text = type(value).__name__
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text[:_LONGEST_REASON]
    )
