"""Tasks that an operator cancels by the host's file, and a client by remote control where it may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import amqp
import pytest
from celery import Celery
from fleet.broker.remote_control import RemoteControl
from support.vhost import Vhost, Worker, temporary_vhost, wait_for

import celery_fleet

QUEUE = "general_background"
LATER = 4_000_000_000.0


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    with temporary_vhost(tmp_path_factory.mktemp("v")) as vhost:
        yield vhost


@pytest.fixture
def app(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> Celery:
    return vhost.client(monkeypatch)


def start(vhost: Vhost, execution: str = "prefork") -> Worker:
    state = {"CELERY_FLEET_MEMORY": str(vhost.directory)}
    return vhost.worker("general", "--pool", execution, "--concurrency", "1", environment=state).ready()


@pytest.fixture
def order(vhost: Vhost) -> Iterator[Any]:
    """Write the host's file, as the kit does."""
    path = vhost.directory / "revoked.json"

    def write(ids: dict[str, bool] | None = None, tasks: dict[str, bool] | None = None) -> None:
        document = {
            "ids": {id: {"until": LATER, "terminate": end} for id, end in (ids or {}).items()},
            "tasks": [
                {"name": name, "before": time.time(), "until": LATER, "terminate": end}
                for name, end in (tasks or {}).items()
            ],
        }
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(document))
        draft.rename(path)

    yield write
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("execution", ["prefork", "threads", "gevent"])
def test_what_waits_is_dropped_and_what_runs_is_ended(
    vhost: Vhost, app: Celery, order: Any, execution: str
) -> None:
    """One that runs, one that the worker holds, one delayed; then the next runs, and nothing runs twice."""
    worker = start(vhost, execution)
    names = ("runs", "held", "delayed", "next")
    labels = {name: f"{name}-{execution}" for name in names}
    runs = app.send_task("hold", (labels["runs"],), queue=QUEUE)
    wait_for(lambda: len(worker.state["active"]) == 1, 60, "a task that runs")
    held = app.send_task("work", (labels["held"],), queue=QUEUE)
    delayed = app.send_task("work", (labels["delayed"],), queue=QUEUE, countdown=3)
    app.send_task("work", (labels["next"],), queue=QUEUE)
    order({runs.id: True, held.id: False, delayed.id: True})
    wait_for(lambda: vhost.events(labels["next"])["end"], 60, "the task behind those that are cancelled")
    wait_for(
        lambda: f"revoked task: work[{delayed.id}]" in worker.log.read_text(), 60, "the delayed task's end"
    )
    worker.reaches(active=[], reserved=0)
    assert vhost.ready_messages(QUEUE) == 0
    assert [len(vhost.events(label)["start"]) for label in labels.values()] == [1, 0, 0, 1]
    assert not vhost.events(labels["runs"])["end"]
    assert worker.stop() == 0


def test_by_name_what_was_published_before(vhost: Vhost, app: Celery, order: Any) -> None:
    """A worker that starts after the order obeys it; a task of this name that is published later runs."""
    app.send_task("work", ("before",), queue=QUEUE)
    app.send_task("again", ("another", []), queue=QUEUE)
    order(tasks={"wor*": False})
    time.sleep(1.1)  # The broker keeps whole seconds.
    app.send_task("work", ("after",), queue=QUEUE)
    worker = start(vhost)
    wait_for(lambda: vhost.events("after")["end"], 60, "the later task")
    assert vhost.events("another")["end"] and not vhost.events("before")["start"]
    assert worker.stop() == 0


@pytest.fixture(scope="module")
def open_vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet whose clients may cancel tasks."""
    with temporary_vhost(tmp_path_factory.mktemp("o"), client_control=True) as vhost:
        yield vhost


def test_a_client_cancels_where_it_may(open_vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs, waits, or comes when the workers that were told have gone; it commands nothing else."""
    vhost, app = open_vhost, open_vhost.client(monkeypatch)
    worker = start(vhost)
    runs = app.send_task("hold", ("runs",), queue=QUEUE)
    wait_for(lambda: len(worker.state["active"]) == 1, 60, "a task that runs")
    waits = app.send_task("work", ("waits",), queue=QUEUE)
    [seen] = app.control.inspect(timeout=5).active().values()
    assert [each["id"] for each in seen] == [runs.id]
    app.control.revoke([waits.id, "later"])
    runs.revoke(terminate=True)
    wait_for(lambda: f"revoked task: work[{waits.id}]" in worker.log.read_text(), 60, "the end of what waits")
    app.control.shutdown()
    wait_for(lambda: "Refused the command shutdown" in worker.log.read_text(), 60, "a refusal")
    following = start(vhost)
    assert worker.stop() == 0
    app.send_task("work", ("later",), queue=QUEUE, task_id="later")
    wait_for(
        lambda: "revoked task: work[later]" in following.log.read_text(), 60, "the end of what came later"
    )
    following.reaches(active=[], reserved=0)
    assert not vhost.events("runs")["end"]
    assert not vhost.events("waits")["start"] and not vhost.events("later")["start"]
    # The kit itself is obeyed.
    admin = vhost.management
    login = {"userid": admin.user, "password": admin.password, "virtual_host": vhost.name}
    with amqp.Connection(f"{admin.host}:5672", confirm_publish=True, **login) as connection:
        kit = RemoteControl(connection.channel(), admin.user)
        kit.send("shutdown", None, [following.state["node"]])
        assert following.process.wait(60) == 0
    # Now no worker is left that could tell.
    app.send_task("work", ("later",), queue=QUEUE, task_id="later")
    last = start(vhost)
    wait_for(lambda: "revoked task: work[later]" in last.log.read_text(), 60, "the end of what came last")
    assert not vhost.events("later")["start"]
    assert last.stop() == 0


def test_a_client_that_may_not_gets_one_sentence(vhost: Vhost, app: Celery) -> None:
    with pytest.raises(celery_fleet.ControlRefusedError, match="set fleet_client_control"):
        app.send_task("work", ("sentence",), queue=QUEUE).revoke()
    vhost.purge(QUEUE)
