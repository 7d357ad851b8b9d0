"""Numbered tasks of all four kinds, which write down themselves that they ran.

They do a little real work each, so that thousands of them take minutes. No queue is named: the fleet's
router finds the pool of each by the words of its name.
"""

import hashlib
import json
import os
import time
from functools import cache
from pathlib import Path

from celery import Task, shared_task

KINDS = ("compute", "fetch", "aggregate", "tidy")
"""One for each kind of pool: cpu, io, memory, general."""


def directory() -> Path:
    """Return where the ledgers are, in the worker's state directory."""
    state = os.environ.get("STATE_DIRECTORY", "/var/lib/celery-fleet").partition(":")[0]
    return Path(state) / "load"


@cache
def _ledger(run: str, name: str) -> int:
    path = directory() / run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def record(run: str, name: str, entry: dict[str, object]) -> None:
    """Append a line to a ledger in one write, which outlasts the death of this process.

    Args:
        run: Id of the run.
        name: File of the ledger; no two processes share one.
        entry: What happened.
    """
    os.write(_ledger(run, name), f"{json.dumps(entry)}\n".encode())


def _ran(task: Task, run: str, number: int) -> None:
    entry = {
        "kind": task.name.rpartition(".")[2],
        "number": number,
        "at": time.time(),
        "node": task.request.hostname,
        "pid": os.getpid(),
        "id": task.request.id,
        "redelivered": bool((task.request.delivery_info or {}).get("redelivered")),
    }
    record(run, f"ran-{task.request.hostname}-{os.getpid()}.jsonl", entry)


@shared_task(bind=True, name="load.compute")
def compute(task: Task, run: str, number: int) -> None:
    """Keep a core busy for some milliseconds."""
    hashlib.pbkdf2_hmac("sha256", run.encode(), str(number).encode(), 5000)
    _ran(task, run, number)


@shared_task(bind=True, name="load.fetch")
def fetch(task: Task, run: str, number: int) -> None:
    """Wait as for an answer."""
    time.sleep(0.02)
    _ran(task, run, number)


@shared_task(bind=True, name="load.aggregate")
def aggregate(task: Task, run: str, number: int) -> None:
    """Hold some memory."""
    sum(bytearray(range(256)) * 4000)
    _ran(task, run, number)


@shared_task(bind=True, name="load.tidy")
def tidy(task: Task, run: str, number: int) -> None:
    """Do next to nothing."""
    _ran(task, run, number)


@shared_task(bind=True, name="load.hold")
def hold(task: Task, run: str, number: int, seconds: float) -> None:
    """Hold a slot for a while, or until the run has a file `free`; its publisher names the queue."""
    record(run, f"began-{task.request.hostname}-{os.getpid()}.jsonl", {"number": number, "at": time.time()})
    end, free = time.monotonic() + seconds, directory() / run / "free"
    while time.monotonic() < end and not free.exists():
        time.sleep(0.1)
    _ran(task, run, number)
