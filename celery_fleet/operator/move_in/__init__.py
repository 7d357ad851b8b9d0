"""Moving in: the tasks that wait at another broker, taken into the fleet's queues, each of them once.

A task goes through a queue of the move's own, the staging queue, which nobody else reads. So a run can
always tell what an earlier one, killed at any point, has published: what lies in that queue. Only when a
task has left the old broker is it rejected there, and the fleet's broker moves it to its queue, in one step.
"""

from __future__ import annotations

from celery_fleet.operator.move_in.mover import move
from celery_fleet.operator.move_in.options import read_options

__all__ = ["move", "read_options"]
