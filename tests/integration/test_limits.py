"""Threads and greenlets keep the limits of tasks as processes do, and lose no slot to one that hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from support.vhost import Vhost, temporary_vhost, wait_for

QUEUE = "general_background"

# What a task does, its limits, and which one ends it. Where both could come, a slow machine would choose.
Stall = tuple[str, dict[str, int], type[Exception]]

HARD = {"time_limit": 2}
THREADS: tuple[Stall, ...] = (
    ("sleeps", HARD, TimeLimitExceeded),
    ("reads a socket", HARD, TimeLimitExceeded),
    ("calls C", HARD, TimeLimitExceeded),
    ("computes", {"soft_time_limit": 4}, SoftTimeLimitExceeded),
    ("computes", HARD, TimeLimitExceeded),
    ("computes on", HARD, TimeLimitExceeded),
)
GREENLETS: tuple[Stall, ...] = (
    ("sleeps", {"soft_time_limit": 1}, SoftTimeLimitExceeded),
    ("sleeps", HARD, TimeLimitExceeded),
    ("reads a socket", {"soft_time_limit": 1}, SoftTimeLimitExceeded),
    ("reads a socket", HARD, TimeLimitExceeded),
)


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("l")) as vhost:
        yield vhost


@pytest.mark.parametrize(("pool", "stalls"), [("threads", THREADS), ("gevent", GREENLETS)])
def test_a_task_that_never_ends_is_ended_and_its_slot_is_free(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str, stalls: tuple[Stall, ...]
) -> None:
    """They take all slots, so that the tasks behind them run only in slots that are free again."""
    others = [f"{number} of {pool}" for number in range(len(stalls))]
    worker = vhost.worker("general", "--pool", pool, "--concurrency", str(len(stalls))).ready()
    app = vhost.client(monkeypatch, task_ignore_result=False, result_backend=vhost.results)
    results = [app.send_task("stall", (manner,), queue=QUEUE, **limits) for manner, limits, _ in stalls]
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
    if pool == "gevent":
        assert worker.stop() == 0
        return
    # With as many threads that hang as it has slots, it makes room for another process.
    for _ in stalls:
        app.send_task("stall", ("sleeps",), queue=QUEUE, **HARD)
    assert worker.process.wait(60) == 0
    assert "This worker ends with what it runs, to be started again" in worker.log.read_text()
    vhost.purge(QUEUE)
