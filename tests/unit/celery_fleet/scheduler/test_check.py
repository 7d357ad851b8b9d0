"""What the build of a release says of an application's periodic tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django
import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, Scheduler
from celery.schedules import BaseSchedule, crontab, schedstate
from django.conf import settings as django_settings
from support.fleet_files import document

from celery_fleet.scheduler import check


class Weekdays(BaseSchedule):
    """A schedule class of an application."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(is_due=False, next=5)


class Own(Scheduler):
    """A scheduler class of an application."""


class Broken(Weekdays):
    """One that cannot say when it is due."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        raise ZeroDivisionError("no holidays")


def _work(*_: object, **__: object) -> None: ...


POOL = document()["pools"]["general"]
KEY = POOL["queues"]["general_scheduled"]["routing_key"]
GOOD: dict[str, Any] = {"task": "shop.report", "schedule": 60}


@pytest.fixture
def report(make_app: Callable[..., Celery]) -> Callable[..., dict[str, Any]]:
    """Reports the periodic tasks of an application with these settings."""

    def of(**settings: object) -> dict[str, Any]:
        app = make_app(**settings)
        app.task(_work, name="shop.report")
        app.finalize()
        return check.report(app)

    return of


@pytest.mark.parametrize(
    "entry",
    [
        {**GOOD, "schedule": timedelta(minutes=5), "args": (1,), "kwargs": {"full": True}},
        {
            **GOOD,
            "schedule": crontab(minute="0", hour="7"),
            "options": {"queue": "general_scheduled", "expires": 9},
        },
        {**GOOD, "schedule": Weekdays(), "options": {"exchange": POOL["exchange"], "routing_key": KEY}},
        {**GOOD, "kwargs": {"now": BeatLazyFunc(datetime.now)}, "options": {"priority": 3}},
        {**GOOD, "relative": True, "options": {"headers": {"tenant": 1}, "ignore_result": True}},
        {"task": "celery.backend_cleanup", "schedule": 3600.5},
    ],
)
def test_what_the_scheduler_can_send_is_reported(report: Callable[..., Any], entry: dict[str, Any]) -> None:
    assert report(beat_schedule={"good": entry}) == {
        "scheduler": "",
        "entries": {"good": entry["task"]},
        "faults": [],
    }


def test_entries_that_the_application_adds_itself_are_reported(make_app: Callable[..., Celery]) -> None:
    app = make_app()

    @app.task(name="shop.late")
    def late() -> None: ...

    app.on_after_finalize.connect(
        lambda sender, **_: sender.add_periodic_task(5, late.s(), name="late"), weak=False
    )
    app.finalize()
    assert check.report(app)["entries"] == {"late": "shop.late"}


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ([], "it is no mapping"),
        ({"schedule": 5}, "it has no `task`"),
        ({"task": "shop.report"}, "it has no `schedule`"),
        ({**GOOD, "schedule": "hourly"}, "its schedule is a str"),
        ({**GOOD, "schedule": 0}, "its interval is not above 0"),
        ({**GOOD, "schedule": timedelta(seconds=-5)}, "its interval is not above 0"),
        ({**GOOD, "schedule": Broken()}, "its next run cannot be found: ZeroDivisionError: no holidays"),
        ({**GOOD, "task": "shop.repotr"}, "the application has no task 'shop.repotr'"),
        ({**GOOD, "options": {"queue": "reports"}}, "the fleet has no queue 'reports'"),
        (
            {**GOOD, "options": {"exchange": "x", "routing_key": "y"}},
            "the fleet has no queue for exchange 'x'",
        ),
        ({**GOOD, "options": {"countdown": 30}}, "option `countdown`: the scheduler may not delay a task"),
        ({**GOOD, "options": {"eta": 5}}, "option `eta`"),
        ({**GOOD, "options": {"connection": 1}}, "option `connection`"),
        ({**GOOD, "options": [1]}, "its `options` are no mapping"),
        ({**GOOD, "args": (object(),)}, "its arguments cannot be sent as json"),
    ],
)
def test_an_entry_that_cannot_run_is_named_with_the_reason(
    report: Callable[..., Any], entry: Any, fault: str
) -> None:
    (found,) = report(beat_schedule={"bad": entry, "good": GOOD})["faults"]
    assert found.startswith(f"beat_schedule 'bad': {fault}"), found


def test_all_faults_are_named_at_once(report: Callable[..., Any]) -> None:
    bad = {**GOOD, "schedule": 0, "options": {"countdown": 3, "queue": "nowhere"}}
    found = report(
        beat_schedule={"one": bad, "two": {"task": "x", "schedule": 1}}, beat_scheduler="no.such:Class"
    )
    assert len(found["faults"]) == 5, found["faults"]
    assert "beat_scheduler 'no.such:Class' cannot be imported" in found["faults"][0]


def test_a_class_of_the_application_is_reported(report: Callable[..., Any]) -> None:
    assert report(beat_scheduler=f"{__name__}:Own")["scheduler"] == f"{__name__}:Own"


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        (2.5, "stores whole seconds, and its interval is 2.5 s"),
        (Weekdays(), "cannot store a schedule of class Weekdays"),
    ],
)
def test_what_a_database_would_change_or_drop_is_a_fault(
    report: Callable[..., Any], schedule: object, fault: str
) -> None:
    if not django_settings.configured:
        django_settings.configure(INSTALLED_APPS=["django_celery_beat"], USE_TZ=True)
        django.setup()
    found = report(
        beat_scheduler="django", beat_schedule={"bad": {**GOOD, "schedule": schedule}, "good": GOOD}
    )
    assert found["scheduler"] == "django_celery_beat.schedulers:DatabaseScheduler"
    (only,) = found["faults"]
    assert fault in only
