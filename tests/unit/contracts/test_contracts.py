"""The two halves speak by files and variables only: each reads here what the other writes.

docs/reference/contracts.md says who writes and reads what.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.utils.collections import LimitedSet
from celery.worker import state
from fleet.broker.staging import OUTWARDS, STAGING
from fleet.files.beat_file import beat_file
from fleet.files.fleet_file import fleet_file
from fleet.host import names, revoked
from fleet.host.machine import Machine
from fleet.host.names import Name, Node
from fleet.host.probation import Observation, Probation, verdict
from fleet.host.status import beat, instance
from fleet.host.unfinished import unfinished
from fleet.results import USERS
from support.fleet_files import PASSWORD, document
from support.fleet_model import LOADED, ROOT
from support.units import pool, render

import celery_fleet
from celery_fleet import files, membership
from celery_fleet import fleet_file as reader
from celery_fleet.operator.dead_letters import letters
from celery_fleet.publishing.amqp import OTHER_EXCHANGES
from celery_fleet.scheduler import schedule
from celery_fleet.scheduler.scheduler import FleetScheduler
from celery_fleet.worker.gate import Ending, Gate
from celery_fleet.worker.orders import ORDERS_VARIABLE, Instance
from celery_fleet.worker.phase import Condition
from celery_fleet.worker.report import Report
from celery_fleet.worker.revoked import Revocations

NAME = Name("io", "demo-1.2-0123456789ab", "89abcdef", 2)
PROBATION = Probation(start=90, seconds=5, tasks=20, failures=3)


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    return Machine(tmp_path, lambda *_: "")


@pytest.fixture
def worker(host: Machine, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance as its unit makes it: the variables of the template, and the directory of its name."""
    host.place(NAME.unit).mkdir(parents=True)
    return Instance.from_environment(variables(host))


def variables(host: Machine, **changes: Any) -> dict[str, str]:
    """What systemd gives a process of the unit, as far as it is the kit's own."""
    text = render("worker.service.j2", pool(name=NAME.pool, **changes))
    told = dict(re.findall(r"^Environment=(CELERY_FLEET_\w+)=(.*)$", text, re.MULTILINE))
    return {
        **{name: value.replace("%i", NAME.instance) for name, value in told.items()},
        ORDERS_VARIABLE: f"{host.root}{told[ORDERS_VARIABLE].replace('%N', host.place(NAME.unit).name)}",
        "RUNTIME_DIRECTORY": str(host.place(NAME.unit)),
    }


@pytest.mark.parametrize("tls", [False, True])
def test_the_package_reads_the_fleet_file(tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {**LOADED, "broker": {**LOADED["broker"], "tls": tls}}
    written = fleet_file(model)
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(written))
    # What it names lies beside it if it lies elsewhere.
    assert str(names.FLEET_FILE) == reader.DEFAULT_PATH
    monkeypatch.setattr(reader, "DEFAULT_PATH", str(path))
    read = reader.load(str(path))
    assert set(read.pools) == set(LOADED["pools"])
    for name, told in read.pools.items():
        assert {queue.name for queue in told.queues} == set(LOADED["pools"][name]["queues"])
        assert told.password_file == str(names.SECRETS / told.user)
    assert files.CLIENTS == names.CLIENTS
    assert read.broker.ca_file == (str(names.CA_FILE) if tls else None)
    assert set(read.dead_letters.queues) == set(written["dead_letters"]["queues"])


def test_the_package_reads_the_schedule(tmp_path: Path) -> None:
    entries = {"often": {"task": "a.b", "every": 2.5}, "daily": {"task": "a.c", "crontab": "30 2 * * *"}}
    path = tmp_path / "beat.json"
    path.write_text(json.dumps(beat_file({**LOADED, "schedule": entries})))
    read = schedule.load(str(path))
    assert read.entries["often"]["schedule"].run_every == timedelta(seconds=2.5)
    assert set(read.entries) == set(entries)


def test_the_package_looks_where_the_kit_writes() -> None:
    assert str(names.FLEET_FILE) == reader.DEFAULT_PATH
    assert str(names.BEAT_FILE) == schedule.DEFAULT_PATH


def test_every_variable_of_the_kit_is_set_by_one_half_and_read_by_the_other(host: Machine) -> None:
    code = "".join(path.read_text() for path in (ROOT / "celery_fleet").rglob("*.py"))
    read = set(re.findall(r'"(CELERY_FLEET_\w+)"', code))
    # Without the first the scheduler reads the file where the kit writes it; tests name another. The second
    # is for people: the kit names the file.
    assert read - {schedule.PATH_VARIABLE, membership.REQUIRED_VARIABLE} == {
        name for name in variables(host) if name.startswith("CELERY")
    }


def test_the_package_knows_which_instance_it_is(worker: Instance) -> None:
    assert (worker.pool, worker.name, worker.release) == (NAME.pool, NAME.instance, NAME.release)


@pytest.mark.parametrize("rollover", ["overlap", "wait"])
def test_the_package_waits_for_the_instances_that_the_kit_starts_beside_it(
    host: Machine, rollover: str
) -> None:
    for name in (NAME, Name("io", "demo-0", "00000000", 1), Name("io2", "demo-0", "00000000", 1)):
        place = host.place(name.unit)
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps({"pid": os.getpid(), "active": [{}, {}]}))
    mine = Instance.from_environment(variables(host, rollover=rollover))
    assert mine.orders().taken == (2 if rollover == "wait" else 0)


def test_the_package_obeys_the_kit_s_orders(host: Machine, worker: Instance) -> None:
    assert (worker.orders().paused, worker.orders().slots) == (False, None)
    host.pause(NAME.unit, True)
    host.set_slots(NAME.unit, 7)
    assert (worker.orders().paused, worker.orders().slots) == (True, 7)
    assert host.slots(NAME.unit) == 7
    host.pause(NAME.unit, False)
    assert not worker.orders().paused


class Request:
    """A task that runs."""

    id, name, time_start, time_limits = "1", "demo.tasks.io.send_email", 1000.0, (None, None)

    class task:  # noqa: N801 - as Celery calls it
        time_limit = 300

    on_success = on_failure = on_timeout = None


def reported(worker: Instance, **facts: Any) -> Report:
    """Let a worker in this condition write its state."""
    condition = Condition(**{"connected": True, "proved": True, "consuming": True, "slots": 4, **facts})
    gate = Gate(lambda _: None, lambda *_: None)
    gate.set(slots=1, is_open=True)
    gate.submit(Request())
    report = Report(condition, gate, str(Node("io", "h", 2)), worker, lambda _: "io_q", lambda: 0, 60)
    report.write(at_once=True)
    return report


def judged(
    host: Machine, waits: bool = False, since_ready: float | None = None, since_start: float = 3
) -> Any:
    """Return the kit's verdict on a new instance with this state."""
    seen = Observation(True, False, 0, host.state(NAME.unit), since_start, since_ready)
    return verdict(seen, PROBATION, waits, True)


def test_the_kit_judges_a_worker_by_what_it_reports(host: Machine, worker: Instance) -> None:
    reported(worker)
    assert judged(host) is None and judged(host, since_start=91) is None and judged(host, since_ready=5) == ""
    reported(worker, proved=False)
    assert judged(host, since_start=91) == "is not ready after 90 s (starting)"
    reported(worker, connected=False, obstacle="refused")
    assert judged(host, since_start=91) == "is not ready after 90 s (refused)"
    reported(worker, consuming=False, slots=0)
    assert judged(host, since_start=91) == "is not ready after 90 s (no slot is free)"
    assert judged(host, waits=True, since_start=91) is None
    report = reported(worker)
    for _ in range(3):
        report.task_ended(Request(), Ending("FAILURE", 0.1))
    report.write(at_once=True)
    assert judged(host, since_ready=1) == "failed 3 of its first 3 tasks"


UNIT = {"Id": NAME.unit, "ActiveState": "active", "SubState": "running", "MainPID": str(os.getpid())}


def test_the_kit_s_status_shows_what_a_worker_reports(host: Machine, worker: Instance) -> None:
    report = reported(worker)
    report.task_ended(Request(), Ending("FAILURE", 0.1, "lost", "WorkerLostError"))
    report.write(at_once=True)
    shown = instance(UNIT, host.state(NAME.unit), None, 1060.0, 100)
    assert (shown["pool"], shown["release"], shown["state"]) == ("io", NAME.release, "consuming")
    assert shown["lost"] == {Request.name: 1}
    assert [shown[name] for name in ("slots", "executed", "failed", "reserved", "hung")] == [4, 1, 1, 0, 0]
    assert shown["active"] == [
        {"id": "1", "name": Request.name, "queue": "io_q", "age_s": 60.0, "time_limit": 300}
    ]
    # Nothing that the kit shows is missing in what a worker says.
    assert {"lost_consumers", "state_age_s"} <= {name for name, value in shown.items() if value is not None}
    (left,) = unfinished(NAME.unit, host.state(NAME.unit), 1060.0)
    assert (left["task"], left["queue"], left["age"], left["limit"]) == (Request.name, "io_q", 60, 300)


@pytest.fixture
def scheduler(host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetScheduler]:
    content = document(secrets=str(tmp_path))
    entries = {"often": {"task": "a.b", "every": 2.5}}
    told = beat_file({**LOADED, "schedule": entries}) | {"password_file": str(tmp_path / "beat")}
    for user in ("client", "beat"):
        (tmp_path / user).write_text(PASSWORD)
    for name, data in (("fleet.json", content), ("beat.json", told)):
        (tmp_path / name).write_text(json.dumps(data))
    place = host.place(names.BEAT)
    place.mkdir(parents=True)
    monkeypatch.setenv(reader.PATH_VARIABLE, str(tmp_path / "fleet.json"))
    monkeypatch.setenv(schedule.PATH_VARIABLE, str(tmp_path / "beat.json"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    app = Celery("test", set_as_current=False)
    celery_fleet.configure(app)
    yield FleetScheduler(app, lazy=True)


def test_the_kit_s_status_shows_what_a_scheduler_reports(host: Machine, scheduler: FleetScheduler) -> None:
    scheduler._report()
    shown = beat({**UNIT, "Id": names.BEAT}, host.state(names.BEAT), 1060.0, 100)
    assert shown["role"] == "waiting"
    assert (
        shown["entries"] is not None
        and shown["release"]
        and shown["source"]
        and shown["state_age_s"] is not None
    )


def test_the_package_obeys_the_kit_s_orders_to_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an id, and by a name what was published before; until the order's time is over."""
    place = names.below(tmp_path, names.REVOKED)
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(state, "revoked", LimitedSet(maxlen=50))
    now = time.time()
    times = {"until": now + 60, "now": now}
    orders = revoked.order(revoked.read(""), ["a", "old"], ["shop.*"], terminate=True, **times)
    place.write_text(
        json.dumps(orders | {"ids": orders["ids"] | {"old": {"until": now - 1, "terminate": True}}})
    )

    def task(id: str, name: str, published: float | None) -> Any:
        properties = {} if published is None else {"timestamp": int(published)}
        ended: list[object] = []
        message = SimpleNamespace(properties=properties)
        return SimpleNamespace(
            id=id, name=name, message=message, ended=ended, terminate=ended.append, _already_revoked=False
        )

    cases = {
        "a": task("a", "any", now + 5),
        "old": task("old", "any", now),
        "before": task("before", "shop.pay", now - 5),
        "after": task("after", "shop.pay", now + 5),
        "unknown": task("unknown", "shop.pay", None),
        "other": task("other", "mail", now - 5),
    }
    worker = Revocations(str(names.below(tmp_path, names.FLEET_FILE)), "the pool")
    worker.obey(cases.values())
    for each in cases.values():
        worker.mark(each)
    assert set(state.revoked) == {"a", "before", "unknown"}
    assert {id for id, each in cases.items() if each.ended} == {"a", "before", "unknown"}
    # Unchanged orders end nothing again, and what is taken back may run.
    worker.obey(cases.values())
    assert cases["a"].ended == ["the pool"]
    place.unlink()
    worker.obey(cases.values())
    worker.mark(cases["a"])
    assert set(state.revoked) == {"before", "unknown"}


def test_the_package_finds_the_results_that_the_kit_keeps(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    content = document(results=("10.0.0.9", 6390), ca_file="/etc/celery-fleet/ca.pem")
    path.write_text(json.dumps(content))
    results = reader.load(str(path)).results
    assert results is not None
    assert (results.host, results.port) == ("10.0.0.9", 6390)
    assert results.ca_file is not None and results.ca_file.endswith("/ca.pem")
    assert [results.worker.user, results.client.user] == list(USERS[1:])
    for login in (results.worker, results.client):
        assert login.password_file.endswith(f"/{login.user}")
    path.write_text(json.dumps(document()))
    assert reader.load(str(path)).results is None


def test_what_was_moved_is_known_by_the_names_that_the_kit_makes_for_moves() -> None:
    assert OUTWARDS in OTHER_EXCHANGES
    assert letters.STAGING == STAGING
