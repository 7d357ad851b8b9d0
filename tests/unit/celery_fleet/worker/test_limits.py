"""No task runs longer than its pool grants, whatever its message or its definition says."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_fleet.worker.limits import Limits

HARD, SOFT = 300, 240
POOL: Any = SimpleNamespace(time_limit=HARD, soft_time_limit=SOFT)
SECONDS = st.none() | st.floats(0, 2**31, exclude_max=True) | st.integers(0, 2**31 - 1)


def request(message: tuple[Any, Any] = (None, None), task: tuple[Any, Any] = (None, None)) -> Any:
    definition = SimpleNamespace(time_limit=task[0], soft_time_limit=task[1])
    return SimpleNamespace(name="shop.sync", time_limits=message, task=definition)


@given(st.tuples(SECONDS, SECONDS), st.tuples(SECONDS, SECONDS))
def test_the_pool_s_hard_limit_is_never_exceeded(message: tuple[Any, Any], task: tuple[Any, Any]) -> None:
    asked = request(message, task)
    own_hard, own_soft = (of_message or of_task for of_message, of_task in zip(message, task, strict=True))
    Limits(POOL).apply(asked)
    hard, soft = asked.time_limits
    assert 0 < hard <= HARD
    assert 0 < soft < HARD
    assert hard == own_hard or not own_hard or own_hard > HARD
    assert soft == own_soft or not own_soft or own_soft >= HARD


@pytest.mark.parametrize(
    ("message", "task", "expected"),
    [
        ((86_400, 80_000), (None, None), (HARD, SOFT)),
        ((None, None), (86_400, None), (HARD, SOFT)),
        ((20, 10), (86_400, 80_000), (20, 10)),
        ((None, 290), (None, None), (HARD, 290)),
        ((None, 300), (None, None), (HARD, SOFT)),
        ((0, 0), (0, 0), (HARD, SOFT)),
    ],
)
def test_limits_of_a_task_are_those_that_its_pool_grants(message: Any, task: Any, expected: Any) -> None:
    asked = request(message, task)
    Limits(POOL).apply(asked)
    assert asked.time_limits == expected


def test_each_task_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(POOL)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            limits.apply(request((86_400, None)))
    (warning,) = caplog.messages
    assert (
        "shop.sync asks for limits of 86400 s (hard) and 240 s (soft); its pool grants 300 and 240" in warning
    )


def test_without_a_pool_limits_are_the_application_s_matter() -> None:
    asked = request((86_400, None))
    Limits(None).apply(asked)
    assert asked.time_limits == (86_400, None)
