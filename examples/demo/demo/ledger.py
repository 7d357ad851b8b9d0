"""A record of each task that succeeded, sent to the demo's ledger."""

import os
import socket
import time

from celery import Task
from celery.signals import task_prerun, task_success

from demo.outside import request_json

TIMEOUT = 5
"""Seconds that a record may take; a task's success never depends on it."""


def connect() -> None:
    """Record each task of this application from now on."""
    task_prerun.connect(_start)
    task_success.connect(_record)


def _start(task: Task, **_: object) -> None:
    task.request.demo_started = time.monotonic()


def _record(sender: Task, **_: object) -> None:
    sink = os.environ.get("DEMO_SINK_URL")
    if not sink or not sender.name.startswith("demo."):
        return
    request = sender.request
    record = {
        "task": sender.name,
        "id": request.id,
        "host": socket.gethostname(),
        "node": request.hostname,
        "pool": os.environ.get("CELERY_FLEET_POOL"),
        "seconds": time.monotonic() - request.demo_started,
    }
    # Celery logs what a receiver of a signal raises, and goes on.
    request_json(f"{sink}/ledger", record, timeout=TIMEOUT)
