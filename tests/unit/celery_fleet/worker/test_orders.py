from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from celery_fleet import state_file
from celery_fleet.state_file import StateFile
from celery_fleet.worker.orders import Instance, Orders


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run" / "celery-fleet-io@1.0_abcd_2"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def told(directory: Path) -> Path:
    """Where the orders of this start of the unit are."""
    told = directory.parent.parent / "orders" / str(directory.stat().st_ino)
    told.mkdir(parents=True)
    return told


def instance(directory: Path, **more: str) -> Instance:
    return Instance.from_environment(
        {
            "CELERY_FLEET_POOL": "io",
            "CELERY_FLEET_INSTANCE": "1.0_rc_abcd_2",
            "RUNTIME_DIRECTORY": f"{directory}:/run/other",
            "CELERY_FLEET_ORDERS": str(directory.parent.parent / "orders"),
            **more,
        }
    )


def other(directory: Path, pool: str = "io", **more: Any) -> None:
    runtime = directory.parent / f"celery-fleet-{pool}@1.0_abcd_{9 + len(list(directory.parent.iterdir()))}"
    runtime.mkdir()
    contents = {"pid": os.getpid(), "active": [{}, {}], **more}
    (runtime / "state.json").write_text(json.dumps(contents))


def test_orders_come_from_files(directory: Path, told: Path) -> None:
    worker = instance(directory)
    assert worker.release == "1.0_rc"
    assert worker.orders() == Orders(paused=False, slots=None, taken=0)
    # What lies in its own directory is no order.
    (directory / "paused").touch()
    (directory / "concurrency").write_text("5")
    assert worker.orders() == Orders()
    (told / "paused").touch()
    (told / "concurrency").write_text("80\n")
    assert worker.orders() == Orders(paused=True, slots=80)
    (told / "concurrency").write_text("0")
    assert worker.orders().slots == 0
    assert Instance.from_environment({}).orders() == Orders()


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5"])
def test_a_senseless_figure_changes_nothing(directory: Path, told: Path, text: str) -> None:
    (told / "concurrency").write_text(text)
    assert instance(directory).orders().slots is None


def test_a_waiting_worker_leaves_room_for_what_others_run(directory: Path) -> None:
    other(directory)
    other(directory, active=[{}])
    other(directory, pool="cpu")
    other(directory, pid=2**22 + 1)  # more than any process has
    broken = directory.parent / "celery-fleet-io@1.0_abcd_3"
    broken.mkdir()
    (broken / "state.json").write_text("{")
    for number, make in enumerate((os.mkfifo, Path.mkdir, lambda path: path.write_text("[" * 100_000))):
        hostile = directory.parent / f"celery-fleet-io@1.0_abcd_{50 + number}"
        hostile.mkdir()
        make(hostile / "state.json")
    linked = directory.parent / "celery-fleet-io@1.0_abcd_60"
    linked.mkdir()
    (linked / "state.json").symlink_to(directory / "state.json")
    (directory / "state.json").write_text(json.dumps({"pid": os.getpid(), "active": [{}]}))
    assert instance(directory, CELERY_FLEET_ROLLOVER="wait").orders().taken == 3
    assert instance(directory, CELERY_FLEET_ROLLOVER="overlap").orders().taken == 0


def test_the_state_is_written_when_it_changes_and_now_and_then(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(state_file.time, "monotonic", lambda: now)
    path = directory / "state.json"
    file = StateFile(path)
    assert file.write({"slots": 1})
    assert json.loads(path.read_text())["schema"] == 1
    assert path.stat().st_mode & 0o777 == 0o640
    assert not file.write({"slots": 2})
    assert file.write({"slots": 2}, at_once=True)
    now += 9.9
    assert not file.write({"slots": 2})
    assert file.write({"slots": 3})
    now += 10
    assert file.write({"slots": 3})
    assert not StateFile(None).write({})
    assert not StateFile(directory / "gone" / "state.json").write({})
