"""What a host says of its pools' tasks: a load of known demands, as workers count it, is found again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fleet.host import usage
from fleet.host.machine import Machine
from fleet.host.names import COUNTERS, below
from fleet.tune.document import tune
from support.fleet_model import HOSTS, LOADED

from celery_fleet.worker import counters
from celery_fleet.worker.counters import Counters
from celery_fleet.worker.gate import Ending

UNIT = "celery-fleet-io@demo-1_0a1b2c3d_1.service"
GROUP = "/celery.slice/celery-fleet.slice/celery-fleet-io.slice"
SHOWN = f"""\
Id={UNIT}
ActiveState=active
SubState=running
MainPID=70
ActiveEnterTimestampMonotonic=1000000

Id=celery-fleet-io.slice
ActiveState=active
ActiveEnterTimestampMonotonic=1000000
"""
# The load: so many slots busy with tasks of so many seconds, cores and MiB.
SLOTS, TASKS, SECONDS, CORES, MIB = 20, 4000, 25.0, 0.15, 310
SPAN = TASKS * SECONDS / SLOTS
MAIN_MIB = 60


def process(pid: int, parent: int, mib: int, more: int = 0) -> dict[str, str]:
    """Return the files of a process that once had so much more memory than now."""
    kib = mib * 1024
    return {
        f"proc/{pid}/cgroup": f"0::{GROUP}/{UNIT}\n",
        f"proc/{pid}/stat": f"{pid} (celery) w) S {parent} {'0 ' * 17}100 0\n",
        f"proc/{pid}/status": f"VmHWM:\t{kib + more * 1024} kB\nVmRSS:\t{kib} kB\n",
        f"proc/{pid}/smaps_rollup": f"Rss: 1 kB\nPss:             {kib} kB\n",
    }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host whose worker has run the load, by its own counters and on a clock of its own."""
    clock = [1000.0]
    monkeypatch.setattr(counters.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(usage.time, "clock_gettime", lambda _: 1 + SPAN)
    place = below(tmp_path, COUNTERS) / "io"
    place.mkdir(parents=True)
    made = Counters(place / "1")
    made.passed(0, SLOTS)
    message = SimpleNamespace(headers={}, delivery_info={})
    for _ in range(TASKS // SLOTS):
        requests: list[Any] = [
            SimpleNamespace(
                name="shop.fetch", eta=None, request_dict={}, message=message, received=clock[0] - 0.5
            )
            for _ in range(SLOTS)
        ]
        for running, request in enumerate(requests, 1):
            made.started(request, "io_api_calls", running)
        clock[0] += SECONDS
        for running, request in enumerate(requests, 1):
            made.ended(request, "io_api_calls", Ending("SUCCESS", SECONDS), SLOTS - running)
    for _ in range(3):
        made.child_exited(0x9B)
    used = TASKS * SECONDS * CORES + 0.01 * SPAN
    files = {
        "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        f"sys/fs/cgroup{GROUP}/cpu.stat": f"usage_usec {used * 1e6:.0f}\n",
        f"sys/fs/cgroup{GROUP}/memory.peak": f"{7000 * 2**20}\n",
        f"sys/fs/cgroup{GROUP}/memory.events": "low 0\noom_kill 0\n",
        **process(70, 1, MAIN_MIB),
    }
    for at in range(SLOTS):
        files |= process(100 + at, 70, MIB - 100 - at, 40)
        # What a task starts is its process's, too.
        files |= process(200 + at, 100 + at, 60)
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    machine = Machine(tmp_path, lambda *_: SHOWN)
    machine.place(UNIT).mkdir(parents=True)
    state = {"pid": 70, "active": [{"name": "shop.fetch", "time_limit": 900}]}
    (machine.place(UNIT) / "state.json").write_text(json.dumps(state))
    return machine


def test_a_load_of_known_demands_is_found_within_a_tenth(host: Machine) -> None:
    told = usage.read(host)
    assert told["errors"] == 0
    groups, cores, memory = HOSTS["balanced1"]
    known = {
        "groups": groups,
        "pools": {},
        "hardware": {"cores": cores, "memory_mib": memory},
        "nodename": "b",
    }
    document = tune(LOADED, {"balanced1": known}, {"balanced1": json.loads(json.dumps(told))})
    rows = {each["figure"]: each for each in document["figures"]}
    assert rows["demand.cores"]["measured"] == pytest.approx(CORES, rel=0.1)
    assert rows["demand.cores"]["proposal"] == {"demand.cores": pytest.approx(CORES, rel=0.1)}
    assert rows["demand.cores"]["tasks"] == TASKS
    assert rows["demand.cores"]["span_s"] == round(SPAN)
    assert rows["demand.memory_mib"]["measured"] == pytest.approx(MIB, rel=0.1)
    assert rows["soft_time_limit"]["measured"] == pytest.approx(SECONDS, rel=0.2)
    assert rows["prefetch_multiplier"]["measured"] == pytest.approx(0.5)
    assert rows["max_tasks_per_child"]["measured"] == pytest.approx(TASKS / 3)
    [misfit] = document["misfits"]
    assert misfit["why"] == "its own limit of 900 s exceeds the pool's 300 s"


def test_a_host_without_workers_has_nothing_to_say(tmp_path: Path) -> None:
    assert usage.read(Machine(tmp_path, lambda *_: "")) == {"pools": {}, "errors": 0}


def test_a_pool_whose_workers_are_gone_keeps_its_counters(host: Machine) -> None:
    pool = usage.read(Machine(host.root, lambda *_: ""))["pools"]["io"]
    assert (pool["span_s"], pool["cpu_s"], pool["children"], pool["main_mib"]) == (None, None, [], None)
    assert pool["tasks"]["shop.fetch"]["ended"] == TASKS
