from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from celery_fleet.publishing.delay import round_up_short_delays

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> Any:
    def send_task(*arguments: object, **options: object) -> tuple[object, ...]:
        return (*arguments, options)

    app = SimpleNamespace(send_task=send_task, now=lambda: NOW)
    round_up_short_delays(app)
    return app


@pytest.mark.parametrize(
    ("countdown", "sent"),
    [(None, None), (0, 0), (-3, -3), (0.001, 1), (0.5, 1), (1, 1), (1.2, 2), (1.5, 1.5), (60, 60)],
)
def test_countdowns(app: Any, countdown: float | None, sent: float | None) -> None:
    assert app.send_task("x", countdown=countdown) == ("x", None, None, sent, None, {})


@pytest.mark.parametrize(
    ("seconds", "countdown"), [(-10, None), (0, None), (0.4, 1), (1.001, 2), (1.5, None), (3600, None)]
)
def test_times(app: Any, seconds: float, countdown: int | None) -> None:
    eta = NOW + timedelta(seconds=seconds)
    sent = app.send_task("x", (1,), {"a": 2}, eta=eta, queue="q")
    assert sent == ("x", (1,), {"a": 2}, countdown, None if countdown else eta, {"queue": "q"})


def test_a_time_as_text_is_left_to_celery(app: Any) -> None:
    assert app.send_task("x", eta="2026-01-01T00:00:00")[4] == "2026-01-01T00:00:00"
