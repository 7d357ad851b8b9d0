"""Periodic tasks of an application beside those of the model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet.preflight.periodic import periodic_tasks

SCHEDULE = {
    "tidy": {"task": "celery.backend_cleanup", "every": 60},
    "report": {"task": "shop.report", "every": 5},
}


def told(*entries: str, scheduler: str = "") -> str:
    periodic = {"scheduler": scheduler, "entries": dict.fromkeys(entries, "shop.report"), "faults": []}
    return json.dumps({"tasks": ["shop.report", "shop.fetch"], "periodic": periodic})


def test_both_are_named() -> None:
    found = periodic_tasks(told("report", "nightly", scheduler="shop.beat:Own"), SCHEDULE, "auto")
    assert found["faults"] == []
    assert found["text"] == (
        "Periodic tasks: 2 of the application (nightly, report), 2 of fleet_schedule (report, tidy),"
        " those of shop.beat:Own; fleet_schedule replaces the application's report"
    )


@pytest.mark.parametrize("report", ["", "{", "[]", None, told()])
def test_nothing_is_said_of_what_is_not_there(report: object) -> None:
    assert periodic_tasks(report, {}, "auto") == {"faults": [], "text": ""}


@pytest.mark.parametrize("beat", [True, False, "true", "false"])
def test_a_site_that_has_decided_is_asked_nothing(beat: object) -> None:
    assert periodic_tasks(told("nightly"), {}, beat)["faults"] == []


@pytest.mark.parametrize(
    ("report", "named"),
    [
        (told("nightly", "hourly"), "periodic tasks of its own (hourly, nightly)"),
        (told(*map(str, range(9))), "(0, 1, 2, 3, 4 and 4 more)"),
        (
            told(scheduler="django_celery_beat.schedulers:DatabaseScheduler"),
            "class django_celery_beat.schedulers:",
        ),
    ],
)
def test_periodic_tasks_that_nobody_would_send_are_a_fault(report: str, named: str) -> None:
    (fault,) = periodic_tasks(report, {}, "auto")["faults"]
    assert named in fault and "set fleet_beat to true" in fault


def test_a_task_of_the_model_that_the_application_lacks_is_a_fault() -> None:
    schedule: dict[str, Any] = {**SCHEDULE, "bad": {"task": "shop.fetsch", "every": 5}}
    assert periodic_tasks(told(), schedule, "auto")["faults"] == [
        "fleet_schedule.bad: the application has no task 'shop.fetsch'; did you mean 'shop.fetch'?"
    ]
