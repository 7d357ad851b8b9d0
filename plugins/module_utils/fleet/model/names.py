"""Names that the model reserves for the kit, and the kinds of pools."""

from __future__ import annotations

from typing import Final

KINDS: Final = ("cpu", "io", "memory", "general")
VERIFY: Final = "fleet_verify"
BEAT: Final = "fleet_beat"
DELAYED: Final = "celery_delayed_"
DEAD: Final = "_dead"
# A delayed message carries 28 bits and their dots in front of its key; AMQP allows 255 bytes in all.
ROUTING_KEY_BYTES: Final = 255 - 2 * 28
