"""What is removed from a host, and what never is."""

import os
import shutil
import subprocess
import sys

import pytest
from fleet.host.names import (
    COUNTERS,
    FILES_RECORD,
    NEEDRESTART,
    PROGRAM,
    PRUNE,
    SHUTDOWN,
    TMPFILES,
    Name,
    below,
    slice_of,
)
from fleet.host.prune import InUseError, building, prune, retire, surplus
from fleet.host.records import Worker, keep
from support.fake_systemd import FakeSystemd


@pytest.fixture
def fake(tmp_path):
    return FakeSystemd(tmp_path)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "opt/demo"


def release(root, name, age, complete=True):
    """Build a release, or a part of it, so many seconds ago."""
    place = root / "releases" / name
    (place / "venv").mkdir(parents=True)
    if complete:
        (place / ".complete").touch()
        os.utime(place / ".complete", (1e9 - age, 1e9 - age))
    return place


def left(root):
    return sorted(path.name for path in (root / "releases").iterdir())


def test_the_releases_that_were_current_last_stay(fake, root):
    for age, name in enumerate(["r5", "r4", "r3", "r2", "r1"]):
        release(root, name, age)
    assert surplus(fake.host, root, "r5", 3).names == ["r1", "r2"]
    assert prune(fake.host, root, "r5", 3).names == ["r1", "r2"]
    assert left(root) == ["r3", "r4", "r5"]
    assert prune(fake.host, root, "r5", 3).names == []


def test_one_that_is_current_again_counts_from_now(fake, root):
    for age, name in enumerate(["r3", "r2", "r1"]):
        release(root, name, age)
    prune(fake.host, root, "r1", 3)
    assert prune(fake.host, root, "r3", 2).names == ["r2"]
    assert left(root) == ["r1", "r3"]


@pytest.mark.parametrize("keep_", [0, 1])
def test_the_current_one_always_stays(fake, root, keep_):
    release(root, "r2", 0)
    release(root, "r1", 9)
    prune(fake.host, root, "r1", keep_)
    assert left(root) == ["r1"]


@pytest.mark.parametrize("current", ["", "gone"])
def test_without_a_current_release_none_is_removed(fake, root, current):
    release(root, "r1", 0)
    assert prune(fake.host, root, current, 1).names == []
    assert left(root) == ["r1"]


def test_what_runs_finishes_boots_or_is_gone_back_to_stays(fake, root):
    for age, name in enumerate(["r6", "r5", "r4", "r3", "r2", "r1"]):
        release(root, name, age)
    fake.serves("cpu", "r5")
    finishing = fake.serves("cpu", "r4", number=2)
    fake.states[finishing] = "deactivating"
    stopped = fake.serves("io", "r3")
    fake.states.pop(stopped)
    fake.host.serve({"cpu": {"release": "r6", "previous": "r2"}})
    found = prune(fake.host, root, "r6", 1)
    assert found.names == ["r1"]
    assert sorted(found.in_use) == ["r2", "r3", "r4", "r5"]
    assert {path.name for path in fake.host.files()} == {
        Name("cpu", "r5", "00000000", 1).unit,
        finishing,
        stopped,
    }


def test_units_of_what_ended_and_slices_of_pools_that_went_are_removed(fake, root):
    release(root, "r1", 0)
    old = fake.serves("cpu", "r1")
    fake("systemctl", "disable", old)
    fake.states.pop(old)
    for pool in ("cpu", "io"):
        (fake.host.units / slice_of(pool)).touch()
    mine = fake.host.units / "celery-fleet-mine@r1_00000000_1.service"
    mine.write_text("[Service]\nExecStart=/bin/true\n")
    fake.host.serve({"io": {"release": "r1", "previous": ""}})
    assert prune(fake.host, root, "r1", 1).names == [old, slice_of("cpu")]
    # A unit that only looks like one of the kit's is somebody's own.
    assert sorted(path.name for path in fake.host.units.glob("celery-fleet-*")) == [
        slice_of("io"),
        mine.name,
    ]


def test_an_incomplete_release_goes_unless_somebody_builds_it(fake, root):
    release(root, "r1", 0)
    release(root, "broken", 0, complete=False)
    with building(fake.host, root / "releases" / "r2", "e1"):
        assert prune(fake.host, root, "r1", 1).names == ["broken"]
    assert left(root) == ["r1", "r2"]
    # One whose builder is gone is a broken one.
    assert prune(fake.host, root, "r1", 1).names == ["r2"]


def test_a_builder_that_is_killed_leaves_nothing_locked(fake, root):
    release(root, "r1", 0)
    code = (
        "import sys, time; from pathlib import Path; from fleet.host.machine import Machine\n"
        "from fleet.host.prune import building\n"
        "with building(Machine(Path(sys.argv[1])), Path(sys.argv[2]), 'e1'):\n"
        "    print('begun', flush=True); time.sleep(60)\n"
    )
    place = root / "releases" / "r2"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(fake.host.root), str(place)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as builder:
        assert builder.stdout.readline() == b"begun\n"
        assert prune(fake.host, root, "r1", 1).names == []
        builder.kill()
    assert prune(fake.host, root, "r1", 1).names == ["r2"]


def test_a_release_is_built_in_an_empty_directory(fake, root):
    place = release(root, "r1", 0, complete=False)
    with building(fake.host, place, "e1"):
        assert [path.name for path in place.iterdir()] == ["environment"]


def test_environments_and_pythons_go_when_no_release_is_made_of_them(fake, root):
    for age, (name, environment, python) in enumerate(
        [("r3", "e2", "p2"), ("r2", "e1", "p1"), ("r1", "e0", "p0")]
    ):
        place = release(root, name, age)
        (place / "environment").write_text(environment)
        (place / "venv" / "pyvenv.cfg").write_text(f"home = {root}/python/{python}/bin\n")
        (root / "environments" / environment).mkdir(parents=True)
        (root / "python" / python).mkdir(parents=True)
    (root / "environments" / ".cache").mkdir()
    with building(fake.host, root / "releases" / "r4", "e4"):
        (root / "environments" / "e4").mkdir()
        prune(fake.host, root, "r3", 3)
        assert sorted(path.name for path in (root / "environments").iterdir()) == [
            ".cache",
            "e0",
            "e1",
            "e2",
            "e4",
        ]
        prune(fake.host, root, "r3", 2)
    assert sorted(path.name for path in (root / "environments").iterdir()) == ["e1", "e2", "e4"]
    assert sorted(path.name for path in (root / "python").iterdir()) == ["p1", "p2"]


def test_no_link_is_followed(fake, root, tmp_path):
    release(root, "r1", 0)
    (tmp_path / "precious/venv").mkdir(parents=True)
    (tmp_path / "precious/.complete").touch()
    (root / "releases/r0").symlink_to(tmp_path / "precious")
    (fake.host.config / "units").mkdir()
    (fake.host.config / "units/r0").symlink_to(tmp_path / "precious")
    inside = release(root, "r2", 9)
    (inside / "data").symlink_to(tmp_path / "precious")
    prune(fake.host, root, "r1", 1)
    assert left(root) == ["r0", "r1"]
    assert (tmp_path / "precious/venv").exists()


def test_records_go_with_their_releases(fake, root):
    for age, name in enumerate(["r2", "r1"]):
        release(root, name, age)
        keep(fake.host, "cpu", Worker(name, "00000000", "overlap", ""))
    prune(fake.host, root, "r2", 1)
    assert [path.name for path in (fake.host.config / "units").iterdir()] == ["r2"]


def test_orders_that_nobody_obeys_go(fake, root):
    release(root, "r1", 0)
    living, ended = fake.serves("io", "r1"), fake.serves("cpu", "r1")
    for unit in (living, ended):
        fake.host.set_slots(unit, 3)
    stale = fake.host.orders(living).with_name("1")
    stale.mkdir()
    shutil.rmtree(fake.host.place(ended))
    prune(fake.host, root, "r1", 1)
    assert [path.name for path in fake.host.ordered.iterdir()] == [fake.host.place(living).name]
    assert not stale.exists() and fake.host.slots(living) == 3


@pytest.mark.parametrize(
    ("entries", "goes"),
    [
        (["releases", "incoming"], True),
        (["releases", ".celery-fleet"], True),
        ([".celery-fleet"], True),
        (["releases", "bin"], False),
        ([], False),
    ],
)
def test_an_application_s_directory_goes_only_if_the_kit_made_it(fake, root, entries, goes):
    for name in entries:
        (root / name).mkdir(parents=True)
    root.mkdir(parents=True, exist_ok=True)
    assert retire(fake.host, root, check=True) == retire(fake.host, root)
    assert root.exists() != goes


def test_a_retired_host_keeps_nothing_of_the_fleet(fake, root, tmp_path):
    place = release(root, "r1", 0)
    (root / ".celery-fleet").touch()
    (root / "current").symlink_to("releases/r1")
    (tmp_path / "precious").mkdir()
    (place / "data").symlink_to(tmp_path / "precious")
    unit = fake.serves("cpu", "r1")
    (fake.host.units / slice_of("cpu")).touch()
    (fake.host.units / PRUNE).touch()
    (below(fake.host.root, COUNTERS) / "cpu").mkdir(parents=True)
    for path in (*SHUTDOWN, NEEDRESTART, TMPFILES):
        below(fake.host.root, path).parent.mkdir(parents=True)
        below(fake.host.root, path).touch()
    below(fake.host.root, PROGRAM).mkdir(parents=True)
    below(fake.host.root, FILES_RECORD).write_text('["/etc/shop/shop.ini", "/etc/shop/gone"]')
    (tmp_path / "etc/shop").mkdir()
    (tmp_path / "etc/shop/shop.ini").touch()
    keep(fake.host, "cpu", Worker("r1", "00000000", "overlap", ""))
    fake.host.set_slots(unit, 3)
    with pytest.raises(InUseError, match=r"celery-fleet-cpu@r1\S* still run"):
        retire(fake.host, root)
    assert place.exists() and fake.host.config.exists()
    fake("systemctl", "disable", unit)
    fake.states.pop(unit)
    told = retire(fake.host, root, check=True)
    assert place.exists()
    assert retire(fake.host, root) == told
    assert [path.name for path in fake.host.units.iterdir()] == ["multi-user.target.wants"]
    assert not any(
        path.exists() for path in (root, fake.host.config, fake.host.ordered, below(fake.host.root, PROGRAM))
    )
    assert not any(below(fake.host.root, path).exists() for path in (NEEDRESTART, TMPFILES, COUNTERS))
    assert (tmp_path / "precious").exists()
    assert list((tmp_path / "etc/shop").iterdir()) == []
    assert retire(fake.host, root) == []
