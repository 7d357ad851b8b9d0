"""What the scheduler has to send, and what it knows of what was sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab, schedule
from fleet.files.beat_file import beat_file
from hypothesis import example, given
from hypothesis import strategies as st
from support import fleet_model

from celery_fleet import FleetFileError
from celery_fleet.scheduler.schedule import load, merged, ran

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("late", "counts_as_of"), [(10.0, 10), (10.4, 10), (19.9, 10), (35.0, 30), (9.999, 10)]
)
def test_an_interval_s_runs_stay_on_their_grid(late: float, counts_as_of: float) -> None:
    assert ran(schedule(10), START, _after(late)) == _after(counts_as_of)


def test_a_crontab_counts_from_now() -> None:
    assert ran(crontab(), START, _after(60.2)) == _after(60.2)


def test_notes_are_merged_in_any_order_and_nonsense_says_nothing() -> None:
    notes = ['{"a": 1, "b": 5}', '{"a": 3}', '{"a": 2, "c": NaN}', "{", None, '["a"]', '{"b": "x"}']
    for order in (notes, notes[::-1]):
        runs: dict[str, float] = {}
        for note in order:
            runs = merged(runs, note)
        assert runs == {"a": 3, "b": 5}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | json_values.map(json.dumps) | json_values)
@example(json.dumps({"a": 2**70}))
@example('{"a": 1' + "0" * 5000 + "}")
@example('{"a": 1e18}')
@example('{"a": 1e999, "b": -1}')
@example('{"a": ' + "[" * 100_000)
@example('{"a": true}')
def test_whatever_a_note_says_is_a_time_or_nothing(told: object) -> None:
    runs = merged({"known": 7.0}, told)
    assert runs["known"] >= 7.0
    for at in runs.values():
        datetime.fromtimestamp(at, tz=ZoneInfo("Pacific/Kiritimati"))


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]).map(ZoneInfo),
    last=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    every=st.integers(1, 90_000),
    late=st.floats(0, 200_000),
)
@example(ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 0, 58, tzinfo=UTC), 300, 0.2)
@example(ZoneInfo("Europe/Berlin"), datetime(2026, 3, 29, 0, 58, tzinfo=UTC), 300, 0.2)
def test_an_interval_is_real_time_over_summer_time(
    zone: ZoneInfo, last: datetime, every: int, late: float
) -> None:
    now = last + timedelta(seconds=every + late)
    found = ran(schedule(every), last.astimezone(zone), now.astimezone(zone))
    assert found.tzinfo is zone
    assert (found.timestamp() - last.timestamp()) % every == 0
    assert timedelta(0) <= now - found.astimezone(UTC) < timedelta(seconds=every)


def test_the_file_of_the_model_is_read(tmp_path: Path) -> None:
    entries = {
        "often": {"task": "a.b", "every": 2.5, "args": [1], "expires": 9},
        "daily": {"task": "a.c", "crontab": "30  2 * * mon-fri", "queue": "general_scheduled"},
    }
    path = tmp_path / "beat.json"
    path.write_text(json.dumps(beat_file({**fleet_model.load(), "schedule": entries})))
    found = load(str(path))
    assert found.user == "beat" and found.entries["often"]["schedule"].run_every == timedelta(seconds=2.5)
    assert found.entries["often"]["args"] == (1,) and found.entries["often"]["options"] == {"expires": 9}
    assert found.entries["daily"]["schedule"] == crontab(minute="30", hour="2", day_of_week="mon-fri")
    assert found.entries["daily"]["options"] == {"queue": "general_scheduled"}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"user": "a"}', '{"user": "a", "password_file": "b", "queue": "c", "schedule": {"x": {}}}'],
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "beat.json"
    path.write_text(text)
    with pytest.raises(FleetFileError, match=r"beat\.json.*not the schedule"):
        load(str(path))
