"""What lies in a worker's directory is read and written as the work of another user."""

import json
import math
import os
import stat

import pytest
from fleet.host import foreign, report
from fleet.host.machine import Machine
from fleet.host.probation import Observation, ready
from fleet.host.status import beat, instance
from fleet.host.unfinished import unfinished, unfinished_text
from hypothesis import given
from hypothesis import strategies as st

UNIT = "celery-fleet-io@r_00000000_1.service"


@pytest.fixture
def host(tmp_path):
    made = Machine(tmp_path)
    made.place(UNIT).mkdir(parents=True)
    return made


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "shadow"
    path.write_text("root")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("name", ["paused", "concurrency"])
def test_an_order_replaces_a_link_and_never_follows_it(host, victim, name):
    (host.place(UNIT) / name).symlink_to(victim)
    host.pause(UNIT, True) if name == "paused" else host.set_slots(UNIT, 80)
    assert victim.read_text() == "root"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert not (host.place(UNIT) / name).is_symlink()
    assert {path.name for path in host.place(UNIT).iterdir()} == {name}


def test_orders_hold_until_they_are_taken_back(host):
    assert host.slots(UNIT) is None
    host.set_slots(UNIT, 7)
    assert host.slots(UNIT) == 7
    host.pause(UNIT, True)
    assert (host.place(UNIT) / "paused").exists()
    host.pause(UNIT, False)
    host.pause(UNIT, False)
    assert not (host.place(UNIT) / "paused").exists()
    assert stat.S_IMODE((host.place(UNIT) / "concurrency").stat().st_mode) == 0o644


def test_an_instance_that_has_ended_takes_no_order(host):
    host.place(UNIT).rmdir()
    host.pause(UNIT, True)
    host.pause(UNIT, False)
    assert host.state(UNIT) == {}
    with pytest.raises(FileNotFoundError):
        host.set_slots(UNIT, 1)


def test_a_directory_that_is_a_link_is_left_alone(host, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    host.place(UNIT).rmdir()
    host.place(UNIT).symlink_to(elsewhere)
    with pytest.raises(OSError):
        host.set_slots(UNIT, 1)
    assert list(elsewhere.iterdir()) == []


def hostile(path, kind, victim):
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "huge":
        path.write_bytes(b" " * (foreign.LARGEST + 1))
    else:
        path.write_bytes(kind)


KINDS = [
    "link",
    "hard link",
    "pipe",
    "directory",
    "huge",
    b"",
    b"[",
    b"[]",
    b"5",
    b"\xff\xfe",
    b"[" * 100_000,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind if isinstance(kind, str) else repr(kind[:9]))
def test_a_hostile_file_says_nothing_and_hangs_nobody(host, victim, kind):
    victim.write_text(json.dumps({"pid": 1, "state": "consuming"}))
    hostile(host.place(UNIT) / "state.json", kind, victim)
    hostile(host.place(UNIT) / "concurrency", kind, victim)
    assert host.state(UNIT) == {}
    assert host.slots(UNIT) in (None, 5)


FIELDS = [*report._REPORT, "else"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*report._TASK, "at"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), anything))
def test_whatever_a_worker_reports_can_be_judged_and_shown(told):
    state = report.parse(json.dumps({"pid": 9, "state": "consuming", "role": "active", **told}).encode())
    json.dumps(state, allow_nan=False)
    unit = {"Id": UNIT, "ActiveState": "active", "SubState": "running", "NRestarts": "0", "MainPID": "9"}
    shown = [instance(unit, state, None, 100.0, 100.0), beat(unit, state, 100.0, 100.0)]
    lines = unfinished_text(unfinished(UNIT, state, 100.0))
    ready(Observation(True, False, 0, state, 1.0, None), False, True)
    for text in lines:
        assert text.isprintable()
    assert all(each["obstacle"].isprintable() for each in shown)


def test_a_workers_own_report_is_kept_as_it_is():
    task = {"id": "1", "name": "shop.buy", "queue": "io_api_calls", "started": 5.5, "time_limit": None}
    told = {"schema": 1, "pid": 9, "state": "consuming", "slots": 0, "proved": True, "active": [task]}
    assert report.parse(json.dumps(told).encode()) == told


@pytest.mark.parametrize("number", [math.inf, math.nan, 2**70, 10**400, -(10**400), 1e18, True, "5"])
def test_a_number_that_is_none_is_left_out(number):
    told = {"pid": 9, "state": "consuming", "updated": number}
    assert "updated" not in report.parse(json.dumps(told).encode())
