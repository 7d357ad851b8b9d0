"""Which commands of remote control a worker takes from whom, where clients may send some."""

from __future__ import annotations

import logging
from typing import Any

from kombu import Message
from kombu.pidbox import Node

from celery_fleet.worker.intake import clean

logger = logging.getLogger(__name__)

# The user that the kit's verbs are at the broker, which lets nobody else send a message under that name.
KIT = "kit"

# What cancels tasks and what looks at them. The rest stops workers, changes what they consume, or shows their
# settings.
EVERYBODY = frozenset(
    {
        *("revoke", "revoke_by_stamped_headers", "terminate"),
        *("ping", "hello", "clock", "stats", "registered", "active_queues"),
        *("active", "reserved", "scheduled", "revoked", "query_task"),
        *("dump_active", "dump_reserved", "dump_schedule", "dump_revoked", "dump_tasks"),
    }
)


class GuardedNode(Node):
    """A worker's mailbox that takes from others than the kit what is meant for everybody."""

    def handle_message(self, body: dict[str, Any], message: Message | None = None) -> object:
        """Obey a command, or refuse it and say so in the log.

        Args:
            body: The command.
            message: What brought it.
        """
        command = body.get("method")
        sender = message.properties.get("user_id") if message is not None else None
        if command in EVERYBODY or sender == KIT:
            return super().handle_message(body, message)
        logger.warning("Refused the command %s of remote control: it is not the kit's", clean(command))
        return None
