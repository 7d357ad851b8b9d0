"""What differs between the supported releases of Celery comes out the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery, schedules
from celery.concurrency.asynpool import AsynPool
from celery.worker.request import Request
from kombu.asynchronous.timer import Timer

from celery_fleet import minors

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("start", "now", "left"),
    [
        (datetime(2026, 10, 25, 1, 30), datetime(2026, 10, 25, 2, 0, fold=1), -1800),
        (datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 29, 3, 15), 900),
        (datetime(2026, 6, 1, 1, 30), datetime(2026, 6, 1, 2, 0), 1800),
    ],
    ids=["autumn", "spring", "summer"],
)
def test_an_interval_is_as_long_in_the_night_in_which_clocks_are_set(
    monkeypatch: pytest.MonkeyPatch, start: datetime, now: datetime, left: float
) -> None:
    monkeypatch.setattr(schedules, "remaining", schedules.remaining)
    minors.count_real_time()
    hourly = schedules.schedule(3600, nowfun=lambda: now.replace(tzinfo=BERLIN))
    hourly.app = SimpleNamespace(timezone=BERLIN, uses_utc_timezone=lambda: True)
    assert hourly.remaining_estimate(start.replace(tzinfo=BERLIN)) == timedelta(seconds=left)


@pytest.fixture
def make_request() -> Callable[[str], Any]:
    """Makes something that is a request, as far as a timer's owner looks."""

    def make(name: str) -> Any:
        request = Request.__new__(Request)
        request._id = name
        return request

    return make


def test_tasks_that_wait_for_their_time_are_found_in_the_timer(make_request: Callable[[str], Any]) -> None:
    timer, first, second = Timer(), make_request("first"), make_request("second")
    timer.call_after(60, print, (first,))
    timer.call_repeatedly(60, print)
    timer.call_after(60, print, ("something else",))
    timer.cancel(timer.call_after(30, print, (second, "bucket", 1)))
    ((request, entry),) = minors.scheduled(timer)
    assert request is first
    timer.cancel(entry)
    assert list(minors.scheduled(timer)) == []


def test_a_lost_connection_takes_its_own_timers_along_and_no_others(
    monkeypatch: pytest.MonkeyPatch, make_request: Callable[[str], Any]
) -> None:
    monkeypatch.setattr(minors, "KEEPS_TIMERS", False)
    timer = Timer()

    def after(name: object) -> None:
        timer.call_after(60, print, (name,))

    timers = minors.ConnectionTimers(SimpleNamespace(timer=timer))
    after("the worker's own")
    for _ in range(2):
        timers.connecting()
        after("a heartbeat")
        timers.connected()
        after("the limit of what runs")
        after(make_request("a delayed task"))
        timer.clear()  # by Celery, when the connection is lost
    timers.connecting()
    after("a connection that fails before its loop")
    timer.clear()
    left = [waiting.entry.args[0] for waiting in timer.queue if not waiting.entry.canceled]
    assert sorted(left) == ["the limit of what runs", "the limit of what runs", "the worker's own"]


@pytest.mark.parametrize("hub", [None, object()])
def test_greenlets_acknowledge_at_once(monkeypatch: pytest.MonkeyPatch, hub: object) -> None:
    monkeypatch.setattr(minors, "ACKNOWLEDGES_AT_ONCE", False)

    class Consumer:
        def __init__(self) -> None:
            self.hub, self.later = hub, []

        def call_soon(self, function: Callable[..., object], *args: object) -> None:
            self.later.append((function, args))

    consumer, acknowledged = Consumer(), []
    with minors.acknowledging_at_once(consumer):
        call_soon = consumer.call_soon
    call_soon(acknowledged.append, 1)
    call_soon(acknowledged.remove, 2)  # fails, which must not end the loop
    assert acknowledged == ([1] if hub is None else [])
    consumer.call_soon(print)
    assert consumer.later[-1] == (print, ()), "control stays in its order"


def test_a_task_for_an_exchange_of_its_own_can_be_sent(make_app: Callable[..., Celery]) -> None:
    app = make_app()
    sent: list[dict[str, Any]] = []
    app.amqp.send_task_message = lambda *_, **options: sent.append(options)
    app.send_task("x", exchange="events", routing_key="user.created")
    assert (sent[0]["exchange"], sent[0]["routing_key"]) == ("events", "user.created")


def test_a_lost_connection_leaves_a_pool_the_tasks_that_run() -> None:
    pool = SimpleNamespace(
        **dict.fromkeys(("synack", "_state"), 0),
        **{"outbound_buffer": deque(), "maintain_pool": lambda: None, "_cache": {}},
        **{name: set() for name in ("_active_writers", "_active_writes", "_busy_workers")},
    )
    pool._cache |= {
        name: SimpleNamespace(
            **{"_accepted": accepted, "_write_to": None, "_scheduled_for": None, "_writer": lambda: None},
            **{"discard": lambda name=name: pool._cache.pop(name), "ready": lambda ended=ended: ended},
        )
        for name, accepted, ended in (("runs", True, False), ("sent", False, False), ("ended", True, True))
    }
    with minors.keeping_running_jobs(pool):
        AsynPool.flush(pool)
        pool._cache.pop("ended", None)  # as its end does
        pool._cache.pop("sent", None)  # as the package has done before
    assert set(pool._cache) == {"runs"}
