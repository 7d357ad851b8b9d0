"""The control plane and the workers' events, which nobody has to confirm."""

from __future__ import annotations

import uuid

from amqp.exceptions import AccessRefused
from celery import Celery
from celery.app.control import Control
from kombu import Queue, pools
from kombu.pidbox import Mailbox, Node
from kombu.utils.functional import lazy

from celery_fleet.errors import ControlRefusedError
from celery_fleet.publishing import forks

# A worker sends these messages from the loop that also handles tasks, and they go to queues of single
# processes, anywhere in the cluster. To wait for their confirmation would be to stand still as long as a
# node is silent that some other worker is connected to. They are of the moment and may be lost.
UNCONFIRMED = {"confirm_publish": False}


class FleetMailbox(Mailbox):
    """The mailboxes of remote control, with another name of a queue for each connection.

    With Khepri, stable from RabbitMQ 4.2 on, an exclusive queue is kept as long as the node that it was
    declared at is down or cut off, and nobody else may declare one of its name.
    """

    def get_queue(self, hostname: str) -> Queue:
        """Return the queue in which a worker receives commands; they address the worker, not the queue."""
        queue = super().get_queue(hostname)
        queue.name = f"{hostname}.{uuid.uuid4().hex}.{self.namespace}.pidbox"
        return queue


class FleetControl(Control):
    """Celery's remote control, whose commands and replies are published without confirmation.

    Args:
        app: The Celery application.
        node_class: The class of a worker's mailbox; by default Celery's.
    """

    Mailbox = FleetMailbox

    def __init__(self, app: Celery, node_class: type[Node] | None = None) -> None:
        super().__init__(app)
        if node_class is not None:
            self.mailbox.node_cls = node_class
        self.mailbox._producer_pool = lazy(
            lambda: pools.producers[app.connection_for_write(transport_options=UNCONFIRMED)]
        )
        # The kit reads the answers, whatever the application's tasks are written in.
        self.mailbox.serializer = "json"

    def broadcast(self, command: str, *args: object, **options: object) -> object:
        """Send a command to workers; everything that controls or inspects them comes through here.

        Args:
            command: The command's name, such as `revoke` or `active`.
            args, options: What Celery's method of this name takes.

        Returns:
            The workers' answers, if they are awaited.

        Raises:
            ControlRefusedError: This process' user has no right to it.
        """
        forks.look()
        try:
            return super().broadcast(command, *args, **options)
        except AccessRefused as error:
            raise ControlRefusedError(
                f"The broker refuses `{command}` from clients: whoever may send it may cancel every task. "
                "Let a task do it, or an operator (playbooks/revoke.yml), or set fleet_client_control."
            ) from error
