"""When entries ran and are due, also of classes and schedules that say little."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery.beat import ScheduleEntry
from celery.schedules import crontab
from celery.schedules import schedule as interval

from celery_fleet.scheduler import runs as module
from celery_fleet.scheduler.runs import runs

LAST = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = LAST.timestamp() + 20


def entry(app: Any, schedule: Any, last: Any = LAST) -> ScheduleEntry:
    return ScheduleEntry(name="e", task="t", schedule=schedule, last_run_at=last, app=app)


def at(moment: datetime) -> Any:
    return lambda: moment


@pytest.fixture
def app(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW))
    return make_app()


def test_an_entry_says_when_it_ran_and_when_it_is_due(app: Any) -> None:
    now = at(datetime.fromtimestamp(NOW, UTC))
    due = {"often": interval(60, nowfun=now, app=app), "hourly": crontab(minute="30", nowfun=now, app=app)}
    kit = SimpleNamespace(
        schedule={name: entry(app, each) for name, each in due.items()}, old_schedulers=None
    )
    told = runs(kit, own=True)  # type: ignore[arg-type]
    last = LAST.timestamp()
    assert told == {
        "often": {"last": last, "next": last + 60},
        "hourly": {"last": last, "next": last + 1800},
    }
    assert runs(kit, own=False) == {}  # type: ignore[arg-type]
    assert runs(None, own=True) == {}


def test_an_entry_that_cannot_tell_breaks_nothing(app: Any) -> None:
    class Broken:
        def remaining_estimate(self, _: object) -> object:
            raise ValueError("no such day")

    other = SimpleNamespace(
        old_schedulers={
            "broken": entry(app, Broken()),
            "never": SimpleNamespace(last_run_at=None, schedule=interval(60)),
        }
    )
    assert runs(other, own=False) == {"broken": {"last": LAST.timestamp()}, "never": {}}  # type: ignore[arg-type]
