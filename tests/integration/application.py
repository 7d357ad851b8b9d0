"""The application whose workers the tests start. It leaves its marks as files, one an event."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import time
import uuid
from asyncio import CancelledError
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate
from celery.signals import task_prerun

import celery_fleet
from celery_fleet.worker import readiness

app = Celery("integration", backend=os.environ["TEST_RESULTS"] or None)
app.conf.update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
celery_fleet.configure(app, publish_patience=float(os.environ.get("TEST_PATIENCE", "20")))


def _mark(event: str, label: str, **more: object) -> None:
    directory = Path(os.environ["TEST_LEDGER"])
    mark = {"event": event, "label": label, "at": time.time(), "pid": os.getpid(), **more}
    draft = directory / f".{uuid.uuid4().hex}"
    draft.write_text(json.dumps(mark), encoding="utf-8")
    draft.rename(directory / uuid.uuid4().hex)


def _note_delivery(task: Any, **_: object) -> None:
    """Mark how each task came here, Celery's own ones included."""
    origin = task.request.delivery_info
    _mark(
        "delivered",
        task.name,
        exchange=origin["exchange"],
        routing_key=origin["routing_key"],
        pool=os.environ["CELERY_FLEET_POOL"],
    )


task_prerun.connect(_note_delivery)


def _break_pool() -> None:
    """What the canary meets in a broken release."""
    if os.environ["TEST_BROKEN"] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)


if "TEST_BROKEN" in os.environ:
    readiness.TIMEOUT = 5
    app.tasks["celery_fleet.proof"].run = _break_pool


def _work(label: str, seconds: float = 0) -> None:
    _mark("start", label)
    time.sleep(seconds)
    _mark("end", label)


def _hold(label: str) -> None:
    _mark("start", label)
    while not Path(os.environ["TEST_LEDGER"], f".release-{label}").exists():
        time.sleep(0.05)
    _mark("end", label)


def _grow(label: str, mib: int) -> None:
    memory = b"x" * (mib * 2**20)
    _mark("end", label, size=len(memory))


def _retry_when_released(task: Any, label: str, countdown: float) -> None:
    if task.request.retries == 0:
        _mark("start", label)
        while not Path(os.environ["TEST_LEDGER"], f".release-{label}").exists():
            time.sleep(0.05)
        raise task.retry(countdown=countdown, max_retries=1)
    _mark("end", label)


def _poison(label: str) -> None:
    """Kill the process that runs it, as a task does that needs more memory than there is."""
    _mark("start", label)
    os.kill(os.getpid(), signal.SIGKILL)


class UnspeakableError(Exception):
    """Cannot be shown, and needs an argument that a copy of it would not get."""

    def __init__(self, needed: object) -> None:
        super().__init__()
        self.needed = needed

    def __str__(self) -> str:
        raise RuntimeError("it has no text")

    __repr__ = __str__


class TooLargeError(MemoryError):
    """What a library raises that asked for more memory than there is."""


_RAISED = {
    "MemoryError": MemoryError,
    "a MemoryError of a library": TooLargeError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "WorkerShutdown": WorkerShutdown,
    "WorkerTerminate": WorkerTerminate,
    "GeneratorExit": GeneratorExit,
    "CancelledError": CancelledError,
    "StopIteration": StopIteration,
    "an error without text": lambda: UnspeakableError(lambda: None),
    "an error with what cannot be sent": lambda: RuntimeError(lambda: None, object()),
}


def _misbehave(manner: str) -> object:
    """End in a way that an application did not mean."""
    _mark("start", manner)
    if manner == "recursion":
        return _recurse(0)
    if manner == "a result that cannot be sent":
        return object()
    if manner in _RAISED:
        raise _RAISED[manner]()
    return None


def _recurse(depth: int) -> int:
    return _recurse(depth + 1) + 1


def _compute() -> None:
    while True:
        pass


def _compute_on() -> None:
    while True:
        try:
            _compute()
        except BaseException:  # a task that no error ends
            continue


def _read_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.recv(1)


_STALLS = {
    "sleeps": lambda: time.sleep(3600),
    "reads a socket": _read_socket,
    "calls C": lambda: ctypes.CDLL(None).pause(),
    "computes": _compute,
    "computes on": _compute_on,
}


def _stall(manner: str) -> None:
    """Never end by itself."""
    try:
        _STALLS[manner]()
    except SoftTimeLimitExceeded:
        _mark("end", manner)
        raise


def _again(task: Any, label: str, countdowns: list[float]) -> None:
    _mark("start", label)
    if task.request.retries < len(countdowns):
        raise task.retry(countdown=countdowns[task.request.retries], max_retries=None)
    _mark("end", label)


def _answer(*given: object) -> str:
    return " ".join(map(str, given))


def _fail(*_: object) -> None:
    raise RuntimeError("as it shall")


def _note_failure(failed: str) -> None:
    """An errback of one argument is a task; one of three would be called where the task failed."""


def _retry_twice(task: Any, countdown: float) -> None:
    if task.request.retries < 2:
        raise task.retry(countdown=countdown, max_retries=2)


def _call_others(names: list[str]) -> None:
    for name in names:
        app.send_task(name)


for name in ("train_model", "analyze_dataset", "call_external_api", "send_email", "upload_file"):
    app.task(_answer, name=f"shop.{name}")
for name in ("aggregate_user_data", "import_large_csv", "tidy_up"):
    app.task(_answer, name=f"shop.{name}")
app.task(_answer, name="shop.sync", resource="memory")
app.task(_fail, name="shop.train_badly")
app.task(_note_failure, name="shop.email_failure")
app.task(_retry_twice, name="shop.fetch_again", bind=True)
app.task(_call_others, name="shop.call_others")
work = app.task(_work, name="work")
retry_when_released = app.task(_retry_when_released, name="retry_when_released", bind=True)
poison = app.task(_poison, name="poison")
hold = app.task(_hold, name="hold")
grow = app.task(_grow, name="grow")
stall = app.task(_stall, name="stall", ignore_result=False)
misbehave = app.task(_misbehave, name="misbehave", ignore_result=False)
# Celery's results in files are not written at once, and two attempts of one task may write together.
again = app.task(_again, name="again", bind=True, ignore_result=True)
