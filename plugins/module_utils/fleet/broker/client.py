"""The AMQP client library of the broker's host (python3-amqp), which only a migration needs."""

from __future__ import annotations

import traceback

AMQP_ERROR: str | None = None
try:
    import amqp
except ImportError:
    AMQP_ERROR = traceback.format_exc()

__all__ = ["AMQP_ERROR", "amqp"]
