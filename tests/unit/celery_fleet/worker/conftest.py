from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from kombu.asynchronous.timer import Timer
from support.worker_parts import Clock, Connection, Manager, Pool, TaskConsumer

from celery_fleet.worker.consumer import FleetConsumer


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CELERY_FLEET_ORDERS", str(tmp_path / "orders"))
    yield manager
    manager.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("consumer", "consumption", "readiness", "report"):
        monkeypatch.setattr(
            f"celery_fleet.worker.{module}.time", SimpleNamespace(monotonic=clock, time=clock)
        )
    return clock


@pytest.fixture
def make_worker(make_app: Callable[..., Celery], clock: Clock) -> Iterator[Callable[..., FleetConsumer]]:
    """Makes the real consumer of a worker, with a pool and a broker of the test."""

    def make(app: Celery | None = None) -> FleetConsumer:
        app = app or make_app("io")
        app.finalize()
        app.conf.worker_enable_remote_control = False
        pool = Pool()
        controller = SimpleNamespace(
            semaphore=None, state=state, use_eventloop=False, app=app, exitcode=None, pool=pool
        )
        worker: Any = FleetConsumer(
            lambda _: None,
            hostname="io_worker@here",
            pool=pool,
            app=app,
            timer=Timer(),
            controller=controller,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            prefetch_multiplier=4,
        )
        worker.task_consumer = TaskConsumer()
        worker.connection = Connection()
        worker.qos = SimpleNamespace(value=0, prev=0, increment_eventually=lambda *_: None)
        worker.event_dispatcher = None
        return worker

    yield make
    state.reset_state()


@pytest.fixture
def worker(make_worker: Callable[..., FleetConsumer]) -> FleetConsumer:
    """A worker that is not connected yet."""
    return make_worker()


@pytest.fixture
def consuming(worker: FleetConsumer, clock: Clock) -> FleetConsumer:
    """A worker that takes tasks."""
    worker.on_ready()
    worker.round()
    worker.pool.run_canary()
    worker.round()
    assert worker.condition.consuming
    return worker
