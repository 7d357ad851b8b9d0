"""A small task that proves who takes the tasks of a queue."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable

from celery import Celery, Task
from celery.app.trace import fast_trace_task, trace_task_ret
from celery.concurrency.base import BasePool

from celery_fleet.fleet import Fleet
from celery_fleet.fleet_file import POOL_VARIABLE

NAME = "celery_fleet.canary"

# The canary that a worker gives to its own execution pool before it takes any task.
PROOF_NAME = "celery_fleet.proof"

# Seconds.
TIME_LIMIT = 60
SOFT_TIME_LIMIT = 50
CONFIRM_TIMEOUT = 10


def register(app: Celery, fleet: Fleet) -> None:
    """Add the canary tasks to an application.

    The one goes only where it is sent, publishes who ran it to the exchange of the answers, and needs no
    result backend. The other is never sent: it shows that an execution pool runs tasks.

    Args:
        app: The Celery application.
        fleet: The fleet, which says where canaries answer.
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

    def proof() -> int:
        return os.getpid()

    app.task(proof, name=PROOF_NAME, shared=False, ignore_result=True)


def prove(
    app: Celery, pool: BasePool, hostname: str, proved: Callable[[], None], failed: Callable[[str], None]
) -> None:
    """Run a canary in an execution pool in the same way as every task.

    Args:
        app: The application.
        pool: The execution pool, which has started.
        hostname: The worker's name.
        proved, failed: One of them is called in the end, the latter with the reason; none when the pool
            never answers.
    """

    def answered(answer: object) -> None:
        if isinstance(answer, tuple) and not answer[0]:
            proved()
        else:
            result = answer[1] if isinstance(answer, tuple) else answer
            failed(str(getattr(result, "exception", result)))

    task_id = str(uuid.uuid4())
    request = {
        "id": task_id,
        "task": PROOF_NAME,
        "hostname": hostname,
        "delivery_info": {"exchange": "", "routing_key": "", "redelivered": False, "priority": None},
    }
    pool.apply_async(
        fast_trace_task if app.use_fast_trace_task else trace_task_ret,
        args=(PROOF_NAME, task_id, request, ((), {}, None), None, None),
        callback=answered,
        error_callback=answered,
        correlation_id=task_id,
    )
