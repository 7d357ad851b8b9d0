"""Shares of a limit from which an alert fires and a dashboard marks the figure."""

from __future__ import annotations

from typing import Final

# Of a queue's length.
QUEUE_FILLING: Final = 0.8
# Of a pool's soft time limit.
TASK_NEAR_LIMIT: Final = 0.9
# Of a pool's memory: above it the kernel kills.
POOL_MEMORY: Final = 0.95
# Of the memory at which a broker stops its publishers.
BROKER_MEMORY: Final = 0.9
