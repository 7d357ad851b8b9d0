"""Threads and greenlets keep the limits of tasks as processes do, and lose no slot to one that hangs."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from support.vhost import Vhost, wait_for

QUEUE = "general_background"

# What a task does, its soft limit, and which limit ends it.
Stall = tuple[str, int | None, type[Exception]]

THREADS: tuple[Stall, ...] = (
    ("computes", 1, SoftTimeLimitExceeded),
    ("computes", None, TimeLimitExceeded),
    ("computes on", 1, TimeLimitExceeded),
    ("sleeps", 1, TimeLimitExceeded),
    ("reads a socket", 1, TimeLimitExceeded),
    ("calls C", 1, TimeLimitExceeded),
)
GREENLETS: tuple[Stall, ...] = (
    ("sleeps", 1, SoftTimeLimitExceeded),
    ("sleeps", None, TimeLimitExceeded),
    ("reads a socket", 1, SoftTimeLimitExceeded),
    ("reads a socket", None, TimeLimitExceeded),
)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("pool", "stalls"), [("threads", THREADS), ("gevent", GREENLETS)])
def test_a_task_that_never_ends_is_ended_and_its_slot_is_free(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str, stalls: tuple[Stall, ...]
) -> None:
    """They take all slots, so that the tasks behind them run only in slots that are free again."""
    others = [f"{number} of {pool}" for number in range(len(stalls))]
    worker = vhost.worker("general", "--pool", pool, "--concurrency", str(len(stalls))).ready()
    app = vhost.client(monkeypatch, task_ignore_result=False, result_backend=vhost.results)
    results = [
        app.send_task("stall", (manner,), queue=QUEUE, time_limit=2, soft_time_limit=soft)
        for manner, soft, _ in stalls
    ]
    for label in others:
        app.send_task("work", (label,), queue=QUEUE)
    try:
        wait_for(lambda: all(vhost.events(label)["end"] for label in others), 60, "the end of the others")
        worker.reaches(active=[], reserved=0, failed=len(stalls))
    except AssertionError as error:
        raise AssertionError(f"{error}; {worker.log.read_text()[-9000:]}") from error
    ended = [type(result.get(timeout=60, propagate=False)).__name__ for result in results]
    assert ended == [error.__name__ for _, _, error in stalls]
    assert vhost.ready_messages(QUEUE) == 0
    assert worker.stop() == 0
