"""A pool whose processes follow its load, on a node as the unit starts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.vhost import Vhost, Worker, temporary_vhost, wait_for

TOP, BOTTOM = 6, 1
TASKS_PER_CHILD = 4
QUEUE = "cpu_data_analysis"

# Seconds without new tasks before Celery takes processes away; 30 unless the environment says otherwise.
KEEPALIVE = 2

# Seconds within which processes come and go and the tasks end, also where many tests share few cores.
PATIENCE = 90


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet of one worker, so that no other takes a task."""
    with temporary_vhost(tmp_path_factory.mktemp("scale")) as vhost:
        yield vhost


@pytest.fixture(scope="module")
def worker(vhost: Vhost) -> Worker:
    return vhost.worker(
        "cpu",
        *("--pool", "prefork"),
        *("--autoscale", f"{TOP},{BOTTOM}"),
        *("--prefetch-multiplier", "1"),
        *("--max-tasks-per-child", str(TASKS_PER_CHILD)),
        environment={"AUTOSCALE_KEEPALIVE": str(KEEPALIVE)},
    ).ready()


@pytest.fixture
def figures(vhost: Vhost, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Asks the running node for its figures."""
    inspect = vhost.client(monkeypatch, pool="general").control.inspect(timeout=5, limit=1)

    def ask() -> Any:
        (stats,) = inspect.stats().values()
        return stats

    return ask


def _processes(figures: dict[str, Any]) -> int:
    # Children that just ended may still be among the processes; so only those that are alive.
    assert figures["autoscaler"]["max"] == TOP
    assert figures["autoscaler"]["min"] == BOTTOM
    return sum(Path(f"/proc/{pid}").exists() for pid in figures["pool"]["processes"])


def _each_ran_once(vhost: Vhost, labels: set[str]) -> None:
    marks = [mark for mark in vhost.marks() if mark["label"] in labels]
    for event in ("start", "end"):
        assert Counter(mark["label"] for mark in marks if mark["event"] == event) == Counter(labels)
    begun = {mark["label"]: mark["pid"] for mark in marks if mark["event"] == "start"}
    ended = {mark["label"]: mark["pid"] for mark in marks if mark["event"] == "end"}
    assert begun == ended


def _ended(vhost: Vhost, labels: set[str]) -> bool:
    return {mark["label"] for mark in vhost.marks() if mark["event"] == "end"} >= labels


def test_the_prefetch_window_is_that_of_the_top(figures: Callable[[], Any]) -> None:
    now = figures()
    assert (now["prefetch_count"], _processes(now)) == (TOP, BOTTOM)


def test_processes_follow_a_burst(
    vhost: Vhost, worker: Worker, figures: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch)
    labels = {f"burst-{n}" for n in range(60)}
    for label in labels:
        app.send_task("work", (label, 0.2), queue=QUEUE)
    wait_for(lambda: _processes(figures()) == TOP, PATIENCE, "the top of the pool's processes")
    wait_for(lambda: _ended(vhost, labels), PATIENCE, "the end of the burst")
    wait_for(lambda: _processes(figures()) == BOTTOM, PATIENCE, "the bottom of the pool's processes")

    _each_ran_once(vhost, labels)
    children = Counter(
        mark["pid"] for mark in vhost.marks() if mark["event"] == "start" and mark["label"] in labels
    )
    assert max(children.values()) <= TASKS_PER_CHILD
    assert len(children) > TOP
    assert vhost.ready_messages(QUEUE) == 0
    assert worker.process.poll() is None


def test_a_task_that_runs_is_not_killed_when_processes_go(
    vhost: Vhost, worker: Worker, figures: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch)
    long = {f"long-{n}" for n in range(3)}
    short = {f"short-{n}" for n in range(30)}
    for label in long:
        app.send_task("hold", (label,), queue=QUEUE)
    for label in short:
        app.send_task("work", (label, 0.2), queue=QUEUE)
    wait_for(lambda: _processes(figures()) == TOP, PATIENCE, "the top of the pool's processes")
    wait_for(lambda: _processes(figures()) == len(long), PATIENCE, "processes for the long tasks only")
    for label in long:
        assert not _ended(vhost, {label})
        vhost.release(label)
    wait_for(lambda: _ended(vhost, long | short), PATIENCE, "the end of all")
    wait_for(lambda: _processes(figures()) == BOTTOM, PATIENCE, "the bottom of the pool's processes")
    _each_ran_once(vhost, long | short)
    log = worker.log.read_text()
    assert "WorkerLostError" not in log
    assert "exited with" not in log
