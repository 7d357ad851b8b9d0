"""The control plane and the workers' events, which nobody has to confirm."""

from __future__ import annotations

from celery import Celery
from celery.app.control import Control
from kombu import pools
from kombu.utils.functional import lazy

# A worker sends these messages from the loop that also handles tasks, and they go to queues of single
# processes, anywhere in the cluster. To wait for their confirmation would be to stand still as long as a
# node is silent that some other worker is connected to. They are of the moment and may be lost.
UNCONFIRMED = {"confirm_publish": False}


class FleetControl(Control):
    """Celery's remote control, whose commands and replies are published without confirmation."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app)
        self.mailbox._producer_pool = lazy(
            lambda: pools.producers[app.connection_for_write(transport_options=UNCONFIRMED)]
        )
