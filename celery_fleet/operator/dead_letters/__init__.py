"""The tasks that died: look at them, send them back, write them to a file, delete them.

Nothing is taken out of a dead-letter queue to be put somewhere else by this process: that could be cut in
half. A message goes back because it is rejected here and the queue's policy dead-letters it to the exchange
that it came from, which the broker does in one step. Whoever only looks gives everything back in its order
by closing the channel.
"""

from __future__ import annotations

from celery_fleet.operator.dead_letters.commands import DeadLetters, read_exported
from celery_fleet.operator.dead_letters.letters import Selection

__all__ = ["DeadLetters", "Selection", "read_exported"]
