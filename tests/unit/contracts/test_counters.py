"""The counters that a worker writes are those that the kit reads: one layout, every figure at its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fleet.host import counters as kit
from fleet.host import metrics
from hypothesis import given
from hypothesis import strategies as st

from celery_fleet.worker import counter_file, counters, waits
from celery_fleet.worker.counters import Counters
from celery_fleet.worker.gate import Ending

ENDINGS = (
    Ending("SUCCESS", 0.02),
    Ending("RETRY", 0.0),
    Ending("REVOKED", 3.0),
    Ending("IGNORED", 1.0),
    Ending("REJECTED", 0.5, "rejected", "Reject"),
    Ending("FAILURE", 99.0, "exception", "ValueError"),
    Ending("FAILURE", 60.0, "time_limit", "TimeLimitExceeded"),
    Ending("FAILURE", 86400.0, "lost", "WorkerLostError"),
    Ending("REVOKED", 0.0),
)


def request(name: str = "shop.work", since: object = None, **delivery: object) -> Any:
    return SimpleNamespace(
        name=name,
        eta=None,
        request_dict={} if since is None else {"fleet_published": since},
        message=SimpleNamespace(headers={}, delivery_info=delivery),
    )


def test_both_halves_know_the_same_layout() -> None:
    assert (counters.STATES, counters.REASONS) == (metrics.STATES, metrics.REASONS)
    assert (counters.RUNTIME_EDGES, waits.WAIT_EDGES) == (metrics.RUNTIME_EDGES, metrics.WAIT_EDGES)
    assert (counter_file.MAGIC, counter_file.LONGEST) == (kit.MAGIC, kit.LONGEST)
    assert counters.POOL[-len(metrics.EXITS) :] == metrics.EXITS
    assert len(counters.POOL) == len(kit.POOL) + len(metrics.EXITS)
    assert counters.OTHER == metrics.OTHER
    most = counters.MOST_TASKS + counters.MOST_QUEUES + counters.MOST_FAILURES + 3 + len(metrics.REASONS)
    assert most <= kit.MOST


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b.c", "\0\n\udc80"]), st.sampled_from(ENDINGS)), max_size=30)
)
def test_what_ends_is_read_again_to_the_last_one(ends: list[tuple[str, Ending]]) -> None:
    made = Counters()
    for name, ending in ends:
        made.ended(request(name), "q", ending, 0)
    read = kit.parse(bytes(made._file._map))
    for name in {name for name, _ in ends}:
        own = [ending for each, ending in ends if each == name]
        figures = read["task", counter_file.clean(name).encode(errors="replace").decode()]
        states = [sum(each.state == state.upper() for each in own) for state in metrics.STATES]
        assert figures[: len(states)] == states
        assert figures[len(states)] == pytest.approx(sum(each.runtime for each in own))
        # One that was revoked before it started has no runtime.
        assert sum(figures[len(states) + 1 :]) == len([each for each in own if each != ENDINGS[-1]])
    failed = sum(figures[0] for name, figures in read.items() if name[0] == "failure")
    assert failed == sum(bool(ending.reason) for _, ending in ends)
    if ends:
        assert sum(read["queue", "q"][: len(metrics.STATES)]) == len(ends)


def test_a_wait_counts_once_for_first_deliveries_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters.time, "time", lambda: 1000.0)
    made = Counters()
    made.started(request(since=998.5), "q", 1)
    made.started(request(since=1100.0), "q", 2)
    made.started(request(), "q", 3)
    made.started(request(since=900.0, redelivered=True), "q", 4)
    planned = request(since=1.0)
    planned.eta = SimpleNamespace(timestamp=lambda: 999.0)
    made.started(planned, "q", 5)
    for since in (True, "soon", -1.0, float("nan"), float("inf"), 2**40, [1]):
        made.started(request(since=since), "q", 6)
    again, skewed, seconds, *buckets = kit.parse(bytes(made._file._map))["queue", "q"][len(metrics.STATES) :]
    assert (again, skewed, seconds) == (1, 1, 2.5)
    by_edge = dict(zip((*metrics.WAIT_EDGES, "more"), buckets, strict=True))
    assert {edge: count for edge, count in by_edge.items() if count} == {0.05: 1, 1: 1, 2: 1}
    assert made.waits.document()["q"] == {"waits": buckets, "newest": 1000.0}


def test_the_next_worker_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "1"
    for count in (3, 4):
        made = Counters(path)  # neither closes anything, as nobody does that is killed
        for _ in range(count):
            made.ended(request(), "q", ENDINGS[0], 0)
            made.ended(request(), "q", ENDINGS[5], 0)
        made.child_exited(0x9B)
        made.child_exited(-9)
        made.child_exited(0)
        made.count("reconnects")
    Counters(tmp_path / "2").ended(request(), "q", ENDINGS[0], 0)
    figures, errors = kit.read(tmp_path)
    assert errors == 0
    assert figures["task", "shop.work"][:2] == [8, 7]
    assert figures["failure", "shop.work", "exception", "ValueError"] == [7]
    assert dict(zip((*kit.POOL, *metrics.EXITS), figures["pool",], strict=True)) | {
        "busy_seconds_total": 0,
        "slot_seconds_total": 0,
    } == dict.fromkeys((*kit.POOL, *metrics.EXITS), 0) | {
        "broker_reconnects_total": 2,
        "recycled": 2,
        "killed": 2,
    }
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "content", [b"", b"CFLEET01", b"CFLEET02" + bytes(600_000), bytes(100), b"\xff" * 600_000]
)
def test_a_broken_file_is_begun_anew_and_none_ends_the_worker(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1"
    path.write_bytes(content)
    made = Counters(path)
    made.ended(request(), "q", ENDINGS[0], 0)
    figures, errors = kit.read(tmp_path)
    assert errors == 0
    assert figures["task", "shop.work"][0] == 1


def test_a_place_that_cannot_be_written_costs_the_figures_only(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "1").symlink_to(victim)
    for path in (tmp_path / "1", tmp_path / "none" / "1", tmp_path):
        made = Counters(path)
        made.ended(request(), "q", ENDINGS[0], 0)
    assert victim.read_text() == "untouched"
    assert kit.read(tmp_path)[1] == 1


def test_names_without_end_fill_neither_memory_nor_file() -> None:
    made = Counters()
    for number in range(10_000):
        error = Ending("FAILURE", 1.0, "exception", f"Error{number}")
        made.ended(request(f"shop.{number}." + "\U0001f600" * 200), f"queue{number}", error, 0)
    figures = kit.parse(bytes(made._file._map))
    tasks = {name: each for name, each in figures.items() if name[0] == "task"}
    assert len(tasks) <= counters.MOST_TASKS + 1
    assert sum(each[1] for each in tasks.values()) == 10_000
    assert tasks["task", "other"][1] >= 9_000
    assert sum(each[0] for name, each in figures.items() if name[0] == "failure") == 10_000
    assert len({name[3] for name in figures if name[0] == "failure"}) <= counters.MOST_EXCEPTIONS + 1
    assert sum(each[1] for name, each in figures.items() if name[0] == "queue") == 10_000
    assert len(made._tasks) + len(made._failures) + len(made._queues) < 2_000


@given(st.binary(max_size=400), st.integers(0, 2**64 - 1))
def test_a_strangers_file_is_refused_and_never_more(content: bytes, end: int) -> None:
    for text in (content, kit.MAGIC + end.to_bytes(8, "little") + content):
        try:
            figures = kit.parse(text)
        except kit.CountersError:
            continue
        assert len(figures) <= kit.MOST


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -1.0])
def test_a_figure_that_is_no_count_is_refused(figure: float) -> None:
    made = Counters()
    made._cells[made._pool] = figure
    with pytest.raises(kit.CountersError):
        kit.parse(bytes(made._file._map))


def test_busy_and_free_slots_are_counted_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(counters.time, "monotonic", lambda: now[0])
    made = Counters()
    for seconds, running, slots in ((2, 0, 4), (5, 3, 4), (10, 3, 0), (1, 0, 0)):
        made.passed(running, slots)
        now[0] += seconds
    made.passed(0, 0)
    assert list(made._cells[made._pool : made._pool + 2]) == [3 * 5 + 3 * 10, 4 * 2 + 4 * 5 + 3 * 10]
