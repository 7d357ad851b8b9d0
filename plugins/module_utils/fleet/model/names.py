"""Names that the model reserves for the kit, and the kinds of pools."""

from __future__ import annotations

import re
from typing import Final

KINDS: Final = ("cpu", "io", "memory", "general")
VERIFY: Final = "fleet_verify"
BEAT: Final = "fleet_beat"
# Users of the server of results; an operator's, the workers', and everybody else's.
RESULTS_KIT: Final = "results_kit"
RESULTS_WORKER: Final = "results_worker"
RESULTS_CLIENT: Final = "results_client"
DELAYED: Final = "celery_delayed_"
DEAD: Final = "_dead"
# What Celery calls its queues and exchanges of remote control and events, and the kit those of a migration.
CONTROL: Final = re.compile(r"(?:.*\.)?celery\.pidbox|celeryev(?:\..*)?|celery_fleet_migration\..*")
# A delayed message carries 28 bits and their dots in front of its key; AMQP allows 255 bytes in all.
ROUTING_KEY_BYTES: Final = 255 - 2 * 28
