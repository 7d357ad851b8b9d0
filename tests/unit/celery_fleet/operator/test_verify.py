"""What a verification makes of answers, which any worker may write."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import Message
from celery import Celery

from celery_fleet.operator.verify import _Run


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "5",
        "[]",
        "[" * 100_000,
        "{}",
        {"run": 5},
        {"queue": ["a"]},
        {"queue": None},
        {"host": 5},
    ],
)
def test_an_answer_that_is_none_is_passed_over(make_app: Any, body: Any) -> None:
    app: Celery = make_app("io")
    told: list[str] = []
    run = _Run(app.amqp.fleet, SimpleNamespace(), 1, told.append)  # type: ignore[arg-type]
    queue = next(iter(run.awaited))
    run.sent[queue] = 0.0
    right = {
        "run": run.id,
        "queue": queue,
        "pool": run.awaited[queue].expected_pool,
        "host": "h",
        "node": "n",
    }
    run.take(Message(body if isinstance(body, str) else json.dumps(right | body)))
    assert run.answers == {}
    run.take(Message(json.dumps(right)))
    assert run.answers[queue].fault is None
    assert len(told) == 1
