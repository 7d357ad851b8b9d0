"""Make a Celery application a member of the fleet: its broker, queues, routes, limits and readiness.

An application needs one line, after its own configuration::

    app = Celery("shop", include=["shop.tasks"])
    celery_fleet.configure(app)
"""

from __future__ import annotations

from celery_fleet.configure import configure
from celery_fleet.errors import (
    ControlRefusedError,
    FleetError,
    FleetFileError,
    MessageTooLargeError,
    PublishError,
    QueueFullError,
    SettingsError,
    UnroutableError,
)
from celery_fleet.publishing.router import HINT_HEADER

__all__ = [
    "ControlRefusedError",
    "FleetError",
    "FleetFileError",
    "MessageTooLargeError",
    "PublishError",
    "QueueFullError",
    "SettingsError",
    "UnroutableError",
    "configure",
    "hint",
]


def hint(resource: str) -> dict[str, str]:
    """Name the resource that one call of a task needs, whatever the task is called.

    Use it as ``task.apply_async(args, headers=celery_fleet.hint("io"))``. It travels in the
    message's headers and never reaches the task's arguments. ``@app.task(resource="io")`` says
    the same for every call of a task; a header wins over it.

    Args:
        resource: One of the hints of the fleet's routing, by default `cpu`, `io`, `memory` and `general`. A
            hint that the fleet does not know leads to the default queue.

    Returns:
        The headers to publish with.
    """
    return {HINT_HEADER: resource}
