"""Celery's remote control, spoken over AMQP: what `celery inspect` and `celery control` send."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Final

from .client import amqp
from .reconcile import Attributes

_CONTROL: Final = "celery.pidbox"
_REPLIES: Final = "reply.celery.pidbox"
_ANSWER_S: Final = 2


class RemoteControl:
    """The workers of a virtual host."""

    def __init__(self, channel: Any, user: str) -> None:  # noqa: ANN401 - the library has no types
        """Open a mailbox for the workers' answers.

        Args:
            channel: A channel of py-amqp that confirms what it publishes.
            user: Who is connected. The broker vouches for it; workers take some commands from the kit only.
        """
        self._channel, self._user = channel, user
        self._answers: dict[str, Any] = {}
        channel.exchange_declare(_CONTROL, "fanout", durable=False, auto_delete=False)
        channel.exchange_declare(_REPLIES, "direct", durable=False, auto_delete=False)
        self._mailbox = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(self._mailbox, _REPLIES, self._mailbox)
        channel.basic_consume(self._mailbox, no_ack=True, callback=self._note)

    def consuming(self, queue: str) -> list[str]:
        """Return the nodes that consume a queue now.

        Args:
            queue: The queue.

        Returns:
            The names of the nodes that answered within two seconds.
        """
        self._answers.clear()
        self._send("active_queues", {})
        end = time.monotonic() + _ANSWER_S
        while (remaining := end - time.monotonic()) > 0:
            try:
                self._channel.connection.drain_events(timeout=remaining)
            except TimeoutError:
                break
        return sorted(
            node
            for node, queues in self._answers.items()
            if isinstance(queues, list)
            and any(isinstance(each, dict) and each.get("name") == queue for each in queues)
        )

    def send(self, command: str, queue: str | None, nodes: list[str]) -> None:
        """Send a command to some nodes; it has no answer.

        Args:
            command: A command of Celery's remote control, such as ``cancel_consumer``.
            queue: The queue that it is about; none for a command without one.
            nodes: The nodes; none of them, and nothing is sent.
        """
        if nodes:
            self._send(command, {"queue": queue} if queue else {}, nodes)

    def _send(self, method: str, arguments: Attributes, nodes: list[str] | None = None) -> None:
        command = {
            "method": method,
            "arguments": arguments,
            "destination": nodes,
            "ticket": self._mailbox,
            "reply_to": {"exchange": _REPLIES, "routing_key": self._mailbox},
        }
        message = amqp.Message(
            json.dumps(command),
            content_type="application/json",
            content_encoding="utf-8",
            user_id=self._user,
        )
        self._channel.basic_publish_confirm(message, exchange=_CONTROL)

    def _note(self, message: Any) -> None:  # noqa: ANN401
        # Whoever may write to the replies' exchange may write anything.
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(message.body)
            if isinstance(answer, dict):
                self._answers.update(answer)
