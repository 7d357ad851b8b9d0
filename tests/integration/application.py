"""The application whose workers the tests start. It leaves its marks as files, one an event."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from celery import Celery

import celery_fleet

app = Celery("integration")
celery_fleet.configure(app, publish_patience=float(os.environ.get("TEST_PATIENCE", "20")))


def _mark(event: str, label: str) -> None:
    directory = Path(os.environ["TEST_LEDGER"])
    text = f"{event} {label} {time.time()} {os.getpid()}\n"
    draft = directory / f".{uuid.uuid4().hex}"
    draft.write_text(text, encoding="utf-8")
    draft.rename(directory / uuid.uuid4().hex)


def _work(label: str, seconds: float = 0) -> None:
    _mark("start", label)
    time.sleep(seconds)
    _mark("end", label)


def _again(task: Any, label: str, countdowns: list[float]) -> None:
    _mark("start", label)
    if task.request.retries < len(countdowns):
        raise task.retry(countdown=countdowns[task.request.retries], max_retries=None)
    _mark("end", label)


work = app.task(_work, name="work")
again = app.task(_again, name="again", bind=True)
