"""What a scheduler takes over from the notes of others, and what it makes of a wrong clock."""

from __future__ import annotations

import json
import logging
import shelve
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import PersistentScheduler, Scheduler
from celery.schedules import BaseSchedule, crontab, schedstate
from hypothesis import example, given, settings
from hypothesis import strategies as st

from celery_fleet import QueueFullError
from celery_fleet.scheduler import classes
from celery_fleet.scheduler import lock as lock_module
from celery_fleet.scheduler.led import CLOCK_TOLERANCE, MEMORY, Term, led
from celery_fleet.scheduler.lock import MARK_HEADER, RUNS_HEADER, SENDER_HEADER, Lock
from celery_fleet.scheduler.scheduler import FleetScheduler, SchedulerClassError

QUEUE = "fleet_beat"


class Producer:
    """Keeps what is published."""

    def __init__(self, *_: object, **__: object) -> None:
        self.published: list[dict[str, Any]] = []
        self.attempts = 0
        self.fails: Exception | None = None

    def publish(self, body: object, **options: Any) -> None:
        self.attempts += 1
        if self.fails is not None and "BCC" in options["headers"]:
            raise self.fails
        self.published.append({"body": body, **options})

    @property
    def sent(self) -> list[dict[str, Any]]:
        """What was sent as a task, with the options that its publisher gave."""
        return [each for each in self.published if "BCC" in each["headers"]]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lock whose broker takes everything."""
    monkeypatch.setattr(lock_module, "CountingProducer", Producer)
    acknowledged: list[int] = []
    channel = SimpleNamespace(
        basic_consume=lambda *_, **__: None, basic_ack=acknowledged.append, acknowledged=acknowledged
    )
    # Of a link the lock uses the channel only.
    return Lock(SimpleNamespace(channel=lambda: channel), QUEUE, "io_tasks", "beat")  # type: ignore[arg-type]


@pytest.fixture
def make_scheduler(
    make_app: Callable[..., Celery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Makes a scheduler that has not met its broker, of an application that sends into a list."""

    def make(conf: dict[str, Any] | None = None, **entries: dict[str, Any]) -> FleetScheduler:
        login = {"user": "beat", "password_file": str(tmp_path / "secrets" / "beat"), "queue": QUEUE}
        (tmp_path / "secrets" / "beat").write_text("secret")
        (tmp_path / "beat.json").write_text(json.dumps({**login, "schedule": entries}))
        monkeypatch.setenv("CELERY_FLEET_BEAT_FILE", str(tmp_path / "beat.json"))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
        app = make_app(**{"timezone": "UTC", "result_expires": None, **(conf or {})})

        def send(name: str, args: object, kwargs: object, producer: Any, **options: Any) -> SimpleNamespace:
            producer.publish([name, args, kwargs], **options)
            return SimpleNamespace(id="1")

        monkeypatch.setattr(app, "send_task", send)
        return FleetScheduler(app)

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
            body="[[], {}, {}]",
        )
    )


def saved(lock: Any, runs: dict[str, float]) -> None:
    """Let a lock receive what another one saved."""
    message = SimpleNamespace(
        properties={"user_id": "beat"},
        headers={RUNS_HEADER: "{}", SENDER_HEADER: "another", MARK_HEADER: None},
        delivery_tag=1,
        body=json.dumps(runs),
    )
    lock._receive(message)


def test_what_a_lock_saves_is_vouched_for_and_of_any_size(lock: Any) -> None:
    lock.save({f"entry {number}": 1.0 for number in range(10_000)})
    for each in lock.producer.published:
        assert each["user_id"] == "beat"
        assert len(json.dumps(each["headers"])) < 1000, "headers must fit into a frame"
    saved(lock, json.loads(lock.producer.published[-1]["body"]))
    assert len(lock.runs) == 10_000


@pytest.mark.parametrize("user", [None, "client", "worker_io"])
def test_what_other_users_publish_is_no_note(lock: Any, user: str | None) -> None:
    note(lock, {"nightly": 5}, user)
    assert lock.runs == {}
    assert lock._channel.acknowledged == [1], "it takes no room from the notes"
    lock.headers({})
    note(lock, {}, user, **{SENDER_HEADER: lock.id, MARK_HEADER: None})
    assert lock._unanswered is not None, "nobody else can say that what was sent has come back"
    note(lock, {"nightly": 5})
    assert lock.runs == {"nightly": 5}


@settings(max_examples=200)
@given(at=st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.booleans() | st.none())
def test_no_note_ends_a_scheduler_or_silences_an_entry(
    lock: Any, make_scheduler: Callable[..., Any], at: object
) -> None:
    scheduler = make_scheduler(often={"task": "a.b", "every": 10})
    lock.runs = {}
    note(lock, {"often": at})
    inner = scheduler._begin(lock)
    assert inner._wait(inner.schedule["often"]) <= 10 + CLOCK_TOLERANCE


@pytest.mark.parametrize("ahead", [CLOCK_TOLERANCE + 5, 86_400, 10**9, 2 * 10**11])
def test_a_run_in_the_future_counts_as_of_now_and_is_told(
    lock: Any,
    make_scheduler: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ahead: float,
) -> None:
    entries = {name: {"task": "a.b", "every": 10} for name in ("nightly", "often", "new")}
    scheduler = make_scheduler(**entries)
    before = time.time()
    note(lock, {"nightly": before + ahead, "often": before - 3})
    with caplog.at_level(logging.WARNING):
        scheduler._lead(lock)
    known = scheduler._inner.schedule
    assert before <= known["nightly"].last_run_at.timestamp() <= time.time()
    assert known["often"].last_run_at.timestamp() == pytest.approx(before - 3)
    assert caplog.text.count("a clock was wrong") == 1
    assert json.loads(lock.producer.published[-1]["body"])["nightly"] <= time.time()
    scheduler._report()
    assert json.loads((tmp_path / "state.json").read_text())["ahead"] == ["nightly"]


def test_a_clock_that_is_set_back_silences_nobody(lock: Any, make_scheduler: Callable[..., Any]) -> None:
    scheduler = make_scheduler(often={"task": "a.b", "every": 10})
    scheduler._lead(lock)
    entry = scheduler._inner.schedule["often"]
    entry.last_run_at += timedelta(days=1)
    scheduler._next = 0
    scheduler._lead(lock)
    assert scheduler._inner._wait(entry) <= 10
    assert scheduler._inner.term.ahead == {"often"}
    scheduler._inner.term.runs["often"] -= 10
    entry.last_run_at -= timedelta(seconds=10)
    scheduler._next = 0
    scheduler._lead(lock)
    assert [each["user_id"] for each in lock.producer.sent] == ["beat"]
    assert scheduler._inner.term.ahead == set()


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]).map(ZoneInfo)


@settings(max_examples=40)
@given(
    zone=ZONES,
    begin=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    every=st.sampled_from([60, 300, 3600]),
)
@example(ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 1, 30), 300)
@example(ZoneInfo("Europe/Berlin"), datetime(2026, 3, 29, 1, 30), 300)
@example(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 0, 30), 3600)
@example(ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 5, 1, 0), 60)
def test_an_interval_runs_in_real_time_over_summer_time(
    lock: Any, make_scheduler: Callable[..., Any], zone: ZoneInfo, begin: datetime, every: int
) -> None:
    scheduler = make_scheduler({"timezone": zone.key}, often={"task": "a.b", "every": every})
    start = begin.replace(tzinfo=zone).timestamp()
    now = [start]
    lock.runs = {"often": start}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now[0])
        inner = scheduler._begin(lock)
        entry, runs = inner.schedule["often"], []
        clock = lambda: datetime.fromtimestamp(now[0], tz=zone)  # noqa: E731 - Celery asks it
        entry.schedule.nowfun = clock
        patch.setattr(entry, "default_now", clock)
        entry.last_run_at = clock()
        while now[0] < start + 12 * every:
            now[0] += every / 10
            inner.tick()
            if inner.term.runs["often"] not in runs[-1:]:
                runs.append(inner.term.runs["often"])
    expected = [start + every * number for number in range(13)]
    assert runs == pytest.approx(expected), (
        f"runs {[at - start for at in runs]} s after the first, every {every} s"
    )


@settings(max_examples=30)
@given(
    every=st.sampled_from([10, 60, 300]),
    steps=st.lists(
        st.tuples(
            st.integers(1, 20), st.sampled_from([0, 0, 0, 30, -30, 3600, -3600, 86_400, -(10**8), 10**9])
        ),
        min_size=1,
        max_size=6,
    ),
)
@example(every=60, steps=[(7, 10**9), (7, 10**9)])
def test_a_clock_that_jumps_heals(
    lock: Any, make_scheduler: Callable[..., Any], every: int, steps: list[tuple[int, int]]
) -> None:
    """Let real time pass in fifths of an interval, and set the clock before each of the steps."""
    scheduler = make_scheduler(often={"task": "a.b", "every": every})
    real, offset = 0.0, 1.8e9
    lock.runs = {"often": offset}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real + offset)
        inner = scheduler._begin(lock)
        entry = inner.schedule["often"]
        clock = lambda: datetime.fromtimestamp(real + offset, tz=ZoneInfo("UTC"))  # noqa: E731 - Celery asks it
        entry.schedule.nowfun = clock
        patch.setattr(entry, "default_now", clock)
        sent, jumps = [0.0], list[float]()
        for count, jump in steps:
            offset += jump
            jumps += [real] * (jump != 0)
            for _ in range(count):
                real += every / 5
                before = len(lock.producer.sent)
                inner.tick()
                sent += [real] * (len(lock.producer.sent) - before)
    told = f"sent at {sent} s, every {every} s, of {real} s; the clock was set at {jumps} s"
    for before, after in pairwise([*sent, real]):
        # A run may begin its interval anew when the clock is set; one in the tolerated future waits for that.
        anew = sum(before <= at <= after for at in jumps)
        assert after - before <= every * 1.2 * (1 + anew) + (CLOCK_TOLERANCE + 30) * anew, f"silent: {told}"
    # A clock that is set forward makes up for one run, and the next one comes at its place on the grid.
    assert len(sent) - 1 <= real / every + 2 * len(jumps) + 1, f"too often: {told}"


# What applications have of their own.


class Weekdays(BaseSchedule):
    """A schedule class of an application."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(is_due=(self.now() - last_run_at).total_seconds() > 5, next=5)


def test_the_application_s_entries_are_sent_beside_the_model_s(
    lock: Any, make_scheduler: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {
        "seconds": {
            "task": "a.seconds",
            "schedule": 5.5,
            "options": {"priority": 7, "headers": {"tenant": 3}},
        },
        "delta": {"task": "a.delta", "schedule": timedelta(seconds=10), "args": (1, 2)},
        "weekly": {"task": "a.weekly", "schedule": crontab(day_of_week="mon", hour="7", minute="0")},
        "class": {
            "task": "a.class",
            "schedule": Weekdays(),
            "options": {"expires": 9, "queue": "io_uploads"},
        },
        "both": {"task": "a.application", "schedule": 5},
    }
    with caplog.at_level(logging.WARNING):
        scheduler = make_scheduler({"beat_schedule": own}, both={"task": "a.model", "every": 5})
    assert "fleet_schedule replaces these entries of beat_schedule: both" in caplog.text
    lock.runs = {name: time.time() - 6 for name in own}
    scheduler._lead(lock)
    sent = {each["body"][0]: each for each in lock.producer.sent}
    assert sent.keys() == {"a.seconds", "a.class", "a.model"}
    assert sent["a.seconds"]["priority"] == 7 and sent["a.seconds"]["headers"]["tenant"] == 3
    assert sent["a.class"]["expires"] == 9 and sent["a.class"]["queue"] == "io_uploads"
    assert all(each["headers"]["celery_beat_task"] for each in sent.values())
    scheduler._report()
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["entries"] == 5
    assert state["source"] == "1 of fleet_schedule, 4 of beat_schedule"


def test_entries_of_add_periodic_task_are_sent(lock: Any, make_scheduler: Callable[..., Any]) -> None:
    scheduler = make_scheduler()
    app = scheduler.app

    @app.task(name="a.late")
    def late() -> None: ...

    app.add_periodic_task(5, late.s(), name="late")
    inner = scheduler._begin(lock)
    assert list(inner.schedule) == ["late"]


def test_each_entry_is_asked_each_second_by_the_time_of_day(
    lock: Any, make_scheduler: Callable[..., Any]
) -> None:
    """A clock that is set by less than is noticed must not delay a crontab until a pause is over."""
    scheduler = make_scheduler(
        {"beat_schedule": {"yearly": {"task": "a.b", "schedule": crontab(month_of_year="1")}}}
    )
    assert 0 < scheduler._begin(lock).tick() <= 1


def test_an_entry_that_cannot_say_when_it_is_due_stops_no_other(
    lock: Any,
    make_scheduler: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object, __: object) -> schedstate:
        raise ZeroDivisionError("no holidays")

    monkeypatch.setattr(Weekdays, "is_due", fail)
    scheduler = make_scheduler(
        {"beat_schedule": {"bad": {"task": "a.bad", "schedule": Weekdays()}}},
        good={"task": "a.good", "every": 5},
    )
    lock.runs = dict.fromkeys(("bad", "good"), time.time() - 6)
    lead(scheduler, lock, 3)
    assert [each["body"][0] for each in lock.producer.sent] == ["a.good"]
    assert caplog.text.count("Cannot find the next run of bad") == 1, "it does not fill the log"


def test_a_scheduler_runs_no_task_itself(lock: Any, make_scheduler: Callable[..., Any]) -> None:
    scheduler = make_scheduler({"task_always_eager": True}, often={"task": "a.eager", "every": 5})

    @scheduler.app.task(name="a.eager")
    def eager() -> None:
        raise AssertionError("it runs here")

    lock.runs = {"often": time.time() - 6}
    scheduler._lead(lock)
    assert [each["body"][0] for each in lock.producer.sent] == ["a.eager"]


def test_what_hooks_a_scheduler_sees_each_run(
    lock: Any, make_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = Scheduler.apply_entry

    def traced(*args: Any, **kwargs: Any) -> Any:
        _scheduler, entry = args  # as monitoring that is widely used takes them
        seen.append(entry.name)
        entry.options["headers"] = {"trace": "1"}
        return original(*args, **kwargs)

    monkeypatch.setattr(Scheduler, "apply_entry", traced)
    scheduler = make_scheduler(often={"task": "a.b", "every": 5})
    lock.runs = {"often": time.time() - 6}
    scheduler._lead(lock)
    assert seen == ["often"]
    (sent,) = lock.producer.sent
    assert sent["headers"]["trace"] == "1" and json.loads(sent["headers"][RUNS_HEADER]).keys() == {"often"}


class Stored(Scheduler):
    """A scheduler class of an application, which writes the runs down at times that it chooses."""

    store: ClassVar[dict[str, datetime]] = {}
    made = 0

    def setup_schedule(self) -> None:
        Stored.made += 1
        self.update_from_dict(self.app.conf.beat_schedule)
        for name, at in self.store.items():
            self.schedule[name].last_run_at = at
        self.dirty: set[str] = set()

    def reserve(self, entry: Any) -> Any:
        self.dirty.add(entry.name)
        return super().reserve(entry)

    def sync(self) -> None:
        for name in self.dirty:
            self.store[name] = self.schedule[name].last_run_at
        self.dirty.clear()


@pytest.fixture
def stored(make_scheduler: Callable[..., Any]) -> Any:
    """A scheduler that lets the class of the application send."""
    Stored.made = 0
    ago = datetime.fromtimestamp(time.time() - 100, tz=ZoneInfo("UTC"))
    Stored.store = {"own": ago, "model": ago}
    own = {"own": {"task": "a.own", "schedule": 50}}
    conf = {"beat_scheduler": f"{__name__}:Stored", "beat_schedule": own}
    return make_scheduler(conf, model={"task": "a.model", "every": 50})


def lead(scheduler: Any, lock: Any, rounds: int = 6) -> None:
    """Lead for some rounds, however long the class wants to pause between them."""
    for _ in range(rounds):
        scheduler._next = 0.0
        scheduler._lead(lock)


def test_a_class_of_the_application_sends_the_model_s_entries_too(stored: Any, lock: Any) -> None:
    assert Stored.made == 0, "while another one is active, nobody touches its store"
    before = time.time()
    lead(stored, lock)
    assert sorted(each["body"][0] for each in lock.producer.sent) == ["a.model", "a.own"]
    assert all(each["user_id"] == "beat" for each in lock.producer.sent)
    assert min(Stored.store.values()).timestamp() >= before, "written down at once"
    assert stored._source().endswith(f"those of {__name__}:Stored")
    assert stored._entries() == 2


def test_a_run_that_the_store_does_not_have_is_known_from_the_notes(stored: Any, lock: Any) -> None:
    # Another host sent it and was killed before it wrote that down.
    at = time.time() - 3
    lock.runs = {"own": at}
    lead(stored, lock)
    assert [each["body"][0] for each in lock.producer.sent] == ["a.model"]
    assert stored._inner.schedule["own"].last_run_at.timestamp() == pytest.approx(at)
    assert stored._inner.notes()["own"] == at


def test_notes_of_entries_that_are_gone_end(stored: Any, lock: Any) -> None:
    lock.runs = {"gone": time.time() - MEMORY - 1, "just gone": time.time() - 5}
    lead(stored, lock)
    assert stored._inner.notes().keys() == {"just gone", "own", "model"}


def test_a_class_without_a_store_continues_by_the_notes(stored: Any, lock: Any) -> None:
    Stored.store = {}
    lock.runs = {"own": time.time() - 60, "model": time.time() - 40}
    lead(stored, lock)
    assert [each["body"][0] for each in lock.producer.sent] == ["a.own"]


def test_a_run_that_was_perhaps_not_sent_is_not_written_down(stored: Any, lock: Any) -> None:
    before = dict(Stored.store)
    stored._link = SimpleNamespace(
        connection_errors=(ConnectionResetError,), channel_errors=(), release=lambda: None
    )
    lock.producer.fails = ConnectionResetError("gone")
    with pytest.raises(ConnectionResetError):
        lead(stored, lock)
    stored._release(lost=True)
    assert Stored.store == before


def test_a_run_that_a_full_queue_refuses_is_tried_again(
    stored: Any, lock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.producer.fails = QueueFullError("full")
    lead(stored, lock)
    assert lock.producer.sent == [] and stored._inner.term.refused.keys() == {"own", "model"}
    lock.producer.fails = None
    lead(stored, lock)
    assert lock.producer.sent == [], "not at once"
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    stored._clock = time.time() - later
    lead(stored, lock, 1)
    assert sorted(each["body"][0] for each in lock.producer.sent) == ["a.model", "a.own"]
    assert stored._inner.term.refused == {}


def test_a_clock_that_is_set_does_not_silence_a_class(stored: Any, lock: Any) -> None:
    lead(stored, lock)
    assert len(lock.producer.sent) == 2
    # As if both had run while the clock was a day ahead.
    Stored.store = {name: at + timedelta(days=1) for name, at in Stored.store.items()}
    stored._clock += 86_400
    lead(stored, lock)
    assert Stored.made == 2, "it reads its store again"
    assert stored._inner.term.ahead == {"own", "model"}
    for entry in stored._inner.schedule.values():
        assert entry.is_due().next <= 50


def test_a_class_that_fails_gives_the_lock_to_another_host(
    stored: Any, lock: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no such table: periodic_task")

    monkeypatch.setattr(Stored, "setup_schedule", fail)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(stored, "_connect", lambda: lock)
    monkeypatch.setattr(lock, "wait", lambda _: None)
    lock.active = True
    stored.tick()
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["role"], state["obstacle"]) == (
        "waiting",
        "Stored failed: RuntimeError no such table: periodic_task",
    )
    with pytest.raises(SchedulerClassError):
        stored._lead(lock)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no.such.module:Scheduler", "cannot be imported: ModuleNotFoundError"),
        ("celery.beat:NoSuch", "cannot be imported"),
        ("celery.schedules:crontab", "is no subclass of celery.beat.Scheduler"),
        (f"{__name__}:lead", "is no subclass of celery.beat.Scheduler"),
    ],
)
def test_a_class_that_cannot_send_is_refused(
    make_app: Callable[..., Celery], name: str, problem: str
) -> None:
    with pytest.raises(classes.UnknownSchedulerError, match=problem):
        classes.chosen(make_app(beat_scheduler=name))


@pytest.mark.parametrize("name", ["celery.beat:PersistentScheduler", "celery.beat:Scheduler"])
def test_celery_s_own_classes_are_the_kit_s(make_app: Callable[..., Celery], name: str) -> None:
    assert classes.chosen(make_app(beat_scheduler=name)) is classes.OWN
    assert classes.named(classes.OWN) == ""


class Kept(PersistentScheduler):
    """A class of an application that keeps its runs in a file, which it unpickles."""


class Planted:
    """What another user's file makes whoever reads it run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_class_reads_no_file_that_a_task_can_write(
    make_scheduler: Callable[..., Any], lock: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scheduler = make_scheduler({"beat_scheduler": f"{__name__}:Kept"}, model={"task": "a.model", "every": 60})
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    run.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(run))
    with shelve.open(str(state / "celerybeat-schedule")) as file:
        file["entries"] = Planted(tmp_path / "ran")
    lead(scheduler, lock)
    scheduler._inner.close()
    assert not (tmp_path / "ran").exists()
    assert [path.name.partition(".")[0] for path in run.iterdir()][:1] == ["celerybeat-schedule"]


def test_a_class_is_led_by_a_subclass_of_its_name(lock: Any) -> None:
    term = Term(lock, ZoneInfo("UTC"))
    assert led(Stored, term).__name__ == "Stored"
    assert issubclass(led(Stored, term), Stored)
    assert led(classes.OWN, term).__mro__[1] is classes.OWN
