"""The model's schedule: every fault of it is named, and what is legal is what Celery takes."""

import pytest
from celery.schedules import crontab
from fleet.model.crontab import is_crontab
from fleet.model.read import read_model


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/5 0-6 1,15 jan-mar/2 mon-fri", "59 23 31 12 6", "0 0 29 2 *", "0  3 * * SUN"]
)
def test_crontabs_that_celery_takes(text):
    assert is_crontab(text)
    crontab.from_string(" ".join(text.split()))


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "5/2 * * * *",
     "*/0 * * * *", "7-3 * * * *", "0 0 31 2 *", "0 0 31 4,6 *", "x * * * *", ", * * * *", 5, None],
)  # fmt: skip
def test_crontabs_that_never_come_or_say_nothing(text):
    assert not is_crontab(text)


def test_all_faults_at_once(model):
    model["schedule"] = {
        "good": {"task": "a.b", "every": 60, "kwargs": {"x": [1, None]}},
        "both": {"task": "a.b", "every": 60, "crontab": "* * * * *"},
        "neither": {"task": "a.b"},
        "lost": {"task": "a.b", "every": 60, "queue": "general_sheduled"},
        "fast": {"task": "a.b", "every": 0},
        "odd name!": {"task": "a.b", "every": 60},
        "typo": {"task": "a.b", "evry": 60, "every": 60},
        "when": {"task": "a.b", "crontab": "0 0 31 2 *"},
        "what": {"every": 60},
        "args": {"task": "a.b", "every": 60, "args": [object()]},
        "nothing": 5,
    }
    found, findings = read_model(model)
    assert {(finding.id, finding.variable.removeprefix("fleet_schedule.")) for finding in findings} == {
        ("schedule/when", "both"),
        ("schedule/when", "neither"),
        ("routing/unknown-queue", "lost.queue"),
        ("model/bad-value", "fast.every"),
        ("name/invalid", "odd name!"),
        ("model/unknown-key", "typo.evry"),
        ("model/bad-value", "when.crontab"),
        ("model/missing-key", "what.task"),
        ("model/bad-value", "args.args"),
        ("model/bad-value", "nothing"),
    }
    assert found.schedule["good"] == model["schedule"]["good"]
