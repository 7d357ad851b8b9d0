"""A small task that proves who takes the tasks of a queue."""

from __future__ import annotations

import json
import os
import socket

from celery import Celery, Task

from celery_fleet.fleet_file import Fleet
from celery_fleet.settings import POOL_VARIABLE

NAME = "celery_fleet.canary"

# Seconds.
TIME_LIMIT = 60
SOFT_TIME_LIMIT = 50
CONFIRM_TIMEOUT = 10


def register(app: Celery, fleet: Fleet) -> None:
    """Give an application the canary task.

    It goes only where it is sent, publishes who ran it to the exchange of the answers, and needs no
    result backend.

    Parameters
    ----------
    app:
        The Celery application.
    fleet:
        The fleet, which says where canaries answer.
    """

    def canary(task: Task, run: str, queue: str) -> None:
        answer = {
            "run": run,
            "queue": queue,
            "pool": os.environ.get(POOL_VARIABLE),
            "host": socket.gethostname(),
            "node": task.request.hostname,
        }
        with app.producer_or_acquire() as producer:
            producer.publish(
                json.dumps(answer),
                exchange=fleet.verify.exchange,
                routing_key=fleet.verify.routing_key,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode="transient",
                mandatory=True,
                retry=True,
                retry_policy=app.conf.task_publish_retry_policy,
                confirm_timeout=CONFIRM_TIMEOUT,
            )

    app.task(
        canary,
        name=NAME,
        bind=True,
        shared=False,
        ignore_result=True,
        time_limit=TIME_LIMIT,
        soft_time_limit=SOFT_TIME_LIMIT,
    )
