"""What a scheduler takes over from the notes of others, and what it makes of a wrong clock."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_fleet.scheduler import lock as lock_module
from celery_fleet.scheduler.lock import MARK_HEADER, RUNS_HEADER, SENDER_HEADER, Lock
from celery_fleet.scheduler.scheduler import CLOCK_TOLERANCE, FleetScheduler

QUEUE = "fleet_beat"


class Producer:
    """Keeps what is published."""

    def __init__(self, *_: object, **__: object) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, _body: object, **options: Any) -> None:
        self.published.append(options)


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lock whose broker takes everything."""
    monkeypatch.setattr(lock_module, "FleetProducer", Producer)
    link = SimpleNamespace(channel=lambda: SimpleNamespace(basic_consume=lambda *_, **__: None))
    # Of a link the lock uses the channel only.
    return Lock(link, QUEUE, "io_tasks", "beat")  # type: ignore[arg-type]


@pytest.fixture
def make_scheduler(
    make_app: Callable[..., Celery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FleetScheduler]:
    """Makes a scheduler that has not met its broker."""

    def make(timezone: str = "UTC", **entries: dict[str, Any]) -> FleetScheduler:
        login = {"user": "beat", "password_file": str(tmp_path / "secrets" / "beat"), "queue": QUEUE}
        (tmp_path / "secrets" / "beat").write_text("secret")
        (tmp_path / "beat.json").write_text(json.dumps({**login, "schedule": entries}))
        monkeypatch.setenv("CELERY_FLEET_BEAT_FILE", str(tmp_path / "beat.json"))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        return FleetScheduler(make_app(timezone=timezone))

    return make


def note(lock: Any, runs: object, user: str | None = "beat", **headers: object) -> None:
    """Let a lock receive what somebody published."""
    told = runs if isinstance(runs, str) else json.dumps(runs)
    properties = {} if user is None else {"user_id": user}
    lock._receive(
        SimpleNamespace(
            properties=properties,
            headers={RUNS_HEADER: told, SENDER_HEADER: "another", **headers},
            delivery_tag=1,
        )
    )


def test_what_a_lock_saves_is_vouched_for(lock: Any) -> None:
    assert [each["user_id"] for each in lock.producer.published] == ["beat"]


@pytest.mark.parametrize("user", [None, "client", "worker_io"])
def test_what_other_users_publish_is_no_note(lock: Any, user: str | None) -> None:
    note(lock, {"nightly": 5}, user)
    assert lock.runs == {}
    lock.headers({})
    note(lock, {}, user, **{SENDER_HEADER: lock.id, MARK_HEADER: None})
    assert lock._unanswered is not None, "nobody else can say that what was sent has come back"
    note(lock, {"nightly": 5})
    assert lock.runs == {"nightly": 5}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(at=st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.booleans() | st.none())
def test_no_note_ends_a_scheduler_or_silences_an_entry(
    lock: Any, make_scheduler: Callable[..., FleetScheduler], at: object
) -> None:
    scheduler = make_scheduler(often={"task": "a.b", "every": 10})
    lock.runs = {}
    note(lock, {"often": at})
    scheduler._adopt(lock.runs)
    assert scheduler._wait(scheduler.schedule["often"]) <= 10 + CLOCK_TOLERANCE


@pytest.mark.parametrize("ahead", [CLOCK_TOLERANCE + 5, 86_400, 10**9, 2 * 10**11])
def test_a_run_in_the_future_counts_as_of_now_and_is_told(
    lock: Any,
    make_scheduler: Callable[..., FleetScheduler],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ahead: float,
) -> None:
    entries = {name: {"task": "a.b", "every": 10} for name in ("nightly", "often", "new")}
    scheduler = make_scheduler(**entries)
    before = time.time()
    note(lock, {"nightly": before + ahead, "often": before - 3})
    with caplog.at_level(logging.WARNING):
        scheduler._adopt(lock.runs)
    assert before <= scheduler.schedule["nightly"].last_run_at.timestamp() <= time.time()
    assert scheduler.schedule["often"].last_run_at.timestamp() == pytest.approx(before - 3)
    assert caplog.text.count("a clock was wrong") == 1
    scheduler._report()
    assert json.loads((tmp_path / "state.json").read_text())["ahead"] == ["nightly"]


def test_a_clock_that_is_set_back_silences_nobody(
    lock: Any, make_scheduler: Callable[..., FleetScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler: Any = make_scheduler(often={"task": "a.b", "every": 10})
    scheduler._lead(lock)
    entry = scheduler.schedule["often"]
    entry.last_run_at += timedelta(days=1)
    sent: list[str] = []
    monkeypatch.setattr(scheduler, "apply_async", lambda noted, **_: sent.append(noted.options["user_id"]))
    scheduler._lead(lock)
    assert scheduler._wait(entry) <= 10
    assert scheduler._ahead == {"often"}
    entry.last_run_at -= timedelta(seconds=10)
    scheduler._lead(lock)
    assert sent == ["beat"]
    assert scheduler._ahead == set()


def test_an_interval_is_due_in_real_time_in_autumn(
    lock: Any, make_scheduler: Callable[..., FleetScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler: Any = make_scheduler("Europe/Berlin", often={"task": "a.b", "every": 300})
    entry, zone = scheduler.schedule["often"], ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 10, 25, 1, 30, tzinfo=zone).timestamp()
    now = [begin]
    clock = lambda: datetime.fromtimestamp(now[0], tz=zone)  # noqa: E731 - Celery asks it
    entry.schedule.nowfun = clock
    monkeypatch.setattr(entry, "default_now", clock)
    monkeypatch.setattr(scheduler, "apply_async", lambda *_, **__: None)
    entry.last_run_at, runs = clock(), []
    while now[0] < begin + 3 * 3600:
        now[0] += 30
        if scheduler._wait(entry) <= 0:
            scheduler._send(entry, lock)
            runs.append(entry.last_run_at.timestamp() - begin)
    assert runs == [300.0 * number for number in range(1, 37)]
