"""The pool of threads ends each task once, whatever its thread does, and goes on with all of its slots."""

from __future__ import annotations

import ctypes
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated
from celery.exceptions import SoftTimeLimitExceeded

from celery_fleet.worker import threads
from celery_fleet.worker.execution import cause_of
from celery_fleet.worker.job import Job, TaskAbandonedError
from celery_fleet.worker.threads import TaskPool

# Seconds; nothing here waits as long.
PATIENCE = 60


class Told(SimpleQueue[tuple[str, Any]]):
    """What a pool tells of the tasks that it is given."""

    def give(self, pool: TaskPool, target: Callable[[], object], **limits: float) -> Job:
        job: Job = pool.apply_async(
            target,
            callback=lambda outcome: self.put(("ended", outcome)),
            timeout_callback=lambda soft, limit: self.put(("soft" if soft else "hard", limit)),
            **limits,
        )
        return job

    def next(self) -> tuple[str, Any]:
        return self.get(timeout=PATIENCE)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskPool]:
    monkeypatch.setattr(threads, "INTERVAL", 0.01)
    monkeypatch.setattr(threads, "PERSISTENCE", 0.1)
    pool: Any = TaskPool(1)
    pool.start()
    yield pool
    pool.stop()


def compute() -> None:
    while True:
        pass


def compute_stubbornly() -> None:
    """Swallow errors, as a bare `except` does, but not for ever."""
    swallowed = 0
    while swallowed < 3:
        try:
            compute()
        except BaseException:  # the test's subject
            swallowed += 1


def sleep() -> None:
    time.sleep(3600)


def read_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.recv(1)


def never_return() -> None:
    ctypes.CDLL(None).pause()


def test_a_thread_serves_one_task_after_the_other(pool: TaskPool, told: Told) -> None:
    seen = set()
    for number in range(3):
        told.give(pool, threading.get_ident)
        kind, ident = told.next()
        assert kind == "ended", number
        seen.add(ident)
        wait_until_idle(pool)
    assert len(seen) == 1


def test_a_thread_keeps_nothing_of_a_task_that_has_ended(pool: TaskPool, told: Told) -> None:
    class Task:
        def __call__(self) -> None:
            """Do nothing."""

    task = Task()
    seen = weakref.ref(task)
    told.give(pool, task)
    del task
    told.next()
    wait_until(lambda: seen() is None)


def test_a_soft_limit_is_raised_in_the_task(pool: TaskPool, told: Told) -> None:
    begun = threading.Event()

    def clean_up() -> str:
        try:
            begun.set()
            compute()
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return ""

    job = told.give(pool, clean_up, timeout=PATIENCE)
    assert begun.wait(PATIENCE)
    job.soft_timeout = 0.01
    assert sorted([told.next(), told.next()]) == [("ended", "cleaned up"), ("soft", 0.01)]


@pytest.mark.parametrize("task", [compute, sleep, read_socket, never_return])
def test_a_hard_limit_ends_any_task_and_costs_no_slot(
    pool: TaskPool, told: Told, task: Callable[[], None]
) -> None:
    told.give(pool, task, timeout=0.01)
    assert told.next() == ("hard", 0.01)
    told.give(pool, lambda: "the next one")
    assert told.next() == ("ended", "the next one")


def test_a_thread_is_told_to_end_until_it_does(pool: TaskPool, told: Told) -> None:
    told.give(pool, compute_stubbornly, timeout=0.01)
    assert told.next() == ("hard", 0.01)
    wait_until(lambda: not pool._running)


def test_a_thread_hangs_that_goes_on_for_seconds() -> None:
    pool = TaskPool(1)  # nobody looks after its limits
    job = Job(pool.abandon, lambda: None, lambda _: None, None, None, None, None)
    job.begun, job.next_attempt = 0.0, 10.0
    job.ends("by an operator")
    pool._running.add(job)
    for now, hung in ((9.9, 0), (10.0, 1)):
        pool._enforce(job, now)
        assert pool.hung == hung


def test_what_a_thread_does_after_its_task_has_ended_counts_no_more(
    pool: TaskPool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PERSISTENCE", PATIENCE)
    begun, released, late = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        try:
            begun.set()
            compute()
        except TaskAbandonedError:
            released.wait()
            late.set()

    job = told.give(pool, block)
    assert begun.wait(PATIENCE)
    job.timeout = 0.01
    assert told.next() == ("hard", 0.01)
    released.set()
    assert late.wait(PATIENCE)
    wait_until(lambda: not pool._running)
    assert told.empty()


def test_an_operator_ends_a_task(pool: TaskPool, told: Told) -> None:
    begun = threading.Event()

    def block() -> None:
        begun.set()
        sleep()

    job = told.give(pool, block, timeout=PATIENCE)
    assert begun.wait(PATIENCE)
    job.terminate(15)
    kind, outcome = told.next()
    assert kind == "ended" and isinstance(cause_of(outcome), Terminated)
    job.terminate(15)
    assert told.empty()


def test_a_limit_that_comes_as_the_task_ends_hits_nothing_else(pool: TaskPool, told: Told) -> None:
    """Interrupted at any moment, a thread tells of the end once and serves the next task."""
    jobs: SimpleQueue[Job | None] = SimpleQueue()

    def interrupt() -> None:
        while (job := jobs.get()) is not None:
            while not job._left:
                job.interrupt(SoftTimeLimitExceeded)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    for number in range(300):
        jobs.put(told.give(pool, lambda: "done"))
        kind, outcome = told.next()
        assert kind == "ended", number
        assert outcome == "done" or isinstance(outcome, ExceptionInfo)
    jobs.put(None)
    interrupter.join()
    told.give(pool, lambda: sum(range(100_000)))
    assert told.next() == ("ended", sum(range(100_000)))


def test_a_stop_waits_for_the_tasks_and_not_for_their_threads(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.setattr(threads, "INTERVAL", 0.01)
    pool = TaskPool(2)
    pool.start()
    told.give(pool, never_return, timeout=0.5)
    pool.stop()
    assert told.get_nowait() == ("hard", 0.5)


def test_a_hook_that_fails_costs_no_slot(pool: TaskPool, told: Told) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("as it shall")

    pool.apply_async(lambda: None, callback=fail, accept_callback=fail)
    told.give(pool, lambda: "the next one")
    assert told.next() == ("ended", "the next one")


def test_a_task_waits_where_no_thread_can_be_started(
    pool: TaskPool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    told.give(pool, lambda: released.wait(PATIENCE))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    told.give(pool, lambda: "waited")
    released.set()
    assert [told.next(), told.next()] == [("ended", True), ("ended", "waited")]


def wait_until_idle(pool: TaskPool) -> None:
    wait_until(lambda: pool._idle == 1)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
