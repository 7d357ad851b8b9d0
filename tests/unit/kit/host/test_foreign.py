"""What lies in a worker's directory is read as the work of another user, and nothing is written there."""

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


def everything(place):
    return {path: path.lstat() for path in [place, *place.rglob("*")]}


def test_an_order_lies_where_only_root_writes(host, victim):
    place = host.place(UNIT)
    for name in ("paused", "concurrency", ".paused.new", ".concurrency.new"):
        (place / name).symlink_to(victim)
    before = everything(place)
    host.pause(UNIT, True)
    host.set_slots(UNIT, 80)
    host.pause(UNIT, False)
    assert everything(place) == before
    assert victim.read_text() == "root"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_orders_hold_until_they_are_taken_back(host):
    place = host.orders(UNIT)
    assert host.slots(UNIT) is None
    umask = os.umask(0o077)
    try:
        host.set_slots(UNIT, 7)
    finally:
        os.umask(umask)
    assert host.slots(UNIT) == 7
    host.pause(UNIT, True)
    assert (place / "paused").exists()
    host.pause(UNIT, False)
    host.pause(UNIT, False)
    assert not (place / "paused").exists()
    # Workers of any user read them.
    assert stat.S_IMODE((place / "concurrency").stat().st_mode) == 0o644
    assert {stat.S_IMODE(path.stat().st_mode) for path in (place, place.parent, host.ordered)} == {0o755}


def test_orders_end_with_the_unit(host, tmp_path):
    host.set_slots(UNIT, 7)
    # A stop removes the directory, and the next start makes another one.
    (tmp_path / "another").mkdir()
    host.place(UNIT).rmdir()
    (tmp_path / "another").rename(host.place(UNIT))
    assert host.slots(UNIT) is None
    host.pause(UNIT, False)
    host.place(UNIT).rmdir()
    host.pause(UNIT, True)
    host.pause(UNIT, False)
    host.set_slots(UNIT, 1)
    assert host.state(UNIT) == {} and host.slots(UNIT) is None


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
    assert host.state(UNIT) == {}


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
