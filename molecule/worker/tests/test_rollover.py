"""The verbs of a live fleet: what is released, replaced and drained while tasks run, and none is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import MOLECULE, Site
from test_pools import FIRST, SECOND, Worker, until

# Two processes share these tests: each has a host of its own once nobody needs both.
HERE, THERE = pytest.mark.xdist_group(FIRST), pytest.mark.xdist_group(SECOND)

Hosts = Callable[[str], Any]
ROOT = MOLECULE.parent
PROBE = (MOLECULE / "worker/files/probe.py").read_text()
CRASH = "\nfrom celery.signals import {0}\n@{0}.connect(weak=False)\ndef crash(**_):\n    {1}\n"


class Fleet:
    """The hosts of the scenario, and the verbs."""

    def __init__(self, site: Site, host: Hosts, place: Path) -> None:
        self.site, self.host, self.place = site, host, place
        self.plans = site.variables("fleet_plan")

    def worker(self, name: str, pool: str) -> Worker:
        """Give what serves a pool now."""
        return Worker(self.host(name), self.plans[name]["fleet_plan"]["pools"][pool])

    def command(self, verb: str, *limit: str, code: str = "", lock: str = "", **extra: Any) -> list[str]:
        """Give the command of a verb, with a release of this code."""
        source = self.place / "source"
        source.mkdir(exist_ok=True)
        (source / "probe.py").write_text(PROBE + code)
        (source / "requirements.lock").write_text((ROOT / "examples/requirements.lock").read_text() + lock)
        app = {
            "name": "probe",
            "celery_app": "probe:app",
            "source": {"type": "directory", "path": str(source)},
            "requirements": "requirements.lock",
            "python": "python3",
            "wheelhouse": False,
            "keep_releases": 3,
            "environment": {},
        }
        values = {"fleet_app": app, "worker_watchdog": 15, "worker_start_timeout": 30, "worker_probation": 2}
        values |= extra
        limited = [f"--limit={','.join(limit)}"] if limit else []
        given = [f"--inventory={self.site.inventory}", *limited, f"--extra-vars={json.dumps(values)}"]
        return ["ansible-playbook", *given, str(ROOT / "playbooks" / f"{verb}.yml")]

    def run(self, verb: str, *limit: str, fails: bool = False, **more: Any) -> str:
        """Run a verb, and give what it prints."""
        done = subprocess.run(
            self.command(verb, *limit, **more), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self, name: str) -> list[str]:
        """Give the files of instances on a host."""
        listed = self.host(name).check_output("ls /etc/systemd/system")
        return [file for file in listed.split() if re.fullmatch(r"celery-fleet-.*@.*\.service", file)]


@pytest.fixture(scope="session")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is there when no test needs both hosts any more."""
    place = tmp_path_factory.getbasetemp()
    return (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "free"


@pytest.fixture
def both(free: Path) -> Iterator[None]:
    yield
    free.touch()


@pytest.fixture(scope="session")
def second(free: Path) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        until(free.exists, 1200, "the second host is free")


@pytest.fixture(scope="module")
def fleet(site: Site, host: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(site, host, tmp_path_factory.mktemp("fleet"))


def serves(worker: Worker) -> None:
    assert worker.ended(worker.send(0), 30) == ["begin", "end"]


@HERE
def test_a_deploy_waits_for_nothing_and_a_rollback_brings_back_what_ran(both: None, fleet: Fleet) -> None:
    # Earlier tests left the hosts otherwise.
    fleet.run("deploy")
    old = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    long = [worker.send(150) for worker in old]
    for worker, path in zip(old, long, strict=True):
        worker.begun(path)
    fleet.run("deploy", code="# second\n", fleet_environment_pools={"general": {"rollover": "wait"}})
    new = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    for before, after, path in zip(old, new, long, strict=True):
        assert before.unit != after.unit
        assert before.show("ActiveState") == "deactivating"
        assert before.trace(path) == ["begin"]
        serves(after)
    slots = "import json,sys; print(json.load(open(sys.argv[1]))['slots'])"
    state = f"/run/celery-fleet/{new[0].unit.removesuffix('.service')}/state.json"

    def room() -> int:
        return int(new[0].host.check_output(f'python3 -c "{slots}" {state}'))

    assert room() == new[0].plan["concurrency"] - 1
    for before, after, path in zip(old, new, long, strict=True):
        assert before.ended(path, 180) == ["begin", "end"]
        until(lambda b=before: b.unit not in fleet.files(FIRST) + fleet.files(SECOND), 30, "the old is gone")
        assert after.show("NRestarts") == "0"
    until(lambda: room() == new[0].plan["concurrency"], 15, "the new one has all the room")

    said = fleet.run("rollback")
    back = [fleet.worker(FIRST, "general"), fleet.worker(SECOND, "cpu")]
    for before, after in zip(old, back, strict=True):
        release = before.unit.partition("@")[2].partition("_")[0]
        assert f"→ {release}" in said
        assert after.unit.rpartition("_")[0] == before.unit.rpartition("_")[0]
        serves(after)
    for name in (FIRST, SECOND):
        output = fleet.host(name).check_output(
            f"systemd-analyze security --threshold=20 --no-pager {fleet.files(name)[0]}"
        )
        assert "OK" in output


@HERE
def test_a_limit_of_one_pool_concerns_no_other(fleet: Fleet) -> None:
    fleet.run("deploy", FIRST)
    general, io = fleet.worker(FIRST, "general"), fleet.worker(FIRST, "io")
    fleet.run("deploy", FIRST, fleet_environment_pools={"io": {"time_limit": 299}})
    assert fleet.worker(FIRST, "general").show("MainPID") == general.show("MainPID")
    assert fleet.worker(FIRST, "io").unit != io.unit
    restarted = fleet.worker(FIRST, "general").unit
    fleet.run("restart", FIRST, fleet_pool="general")
    assert fleet.worker(FIRST, "general").unit != restarted


BROKEN: dict[str, dict[str, Any]] = {
    "import error": {"code": "\nimport no_such_module\n"},
    "crash on start": {"code": CRASH.format("celeryd_init", "raise SystemExit('no start')")},
    "crash on first task": {"code": CRASH.format("task_prerun", "__import__('os')._exit(3)")},
    "wrong password": {"worker_log_level": "DEBUG", "worker_start_timeout": 12},
    "missing package": {"lock": "\nno-such-package-at-all==1.0 --hash=sha256:" + "0" * 64 + "\n"},
    "disk full": {"code": "# full\n"},
}


@THERE
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_leaves_the_old_one_serving(second: None, fleet: Fleet, how: str) -> None:
    worker, given, host = fleet.worker(SECOND, "cpu"), dict(BROKEN[how]), fleet.host(SECOND)
    main = worker.show("MainPID")
    if how == "wrong password":
        users = host.check_output("ls /etc/celery-fleet/secrets").split()
        given["app_passwords"] = dict.fromkeys(users, "wrong")
    if how == "disk full":
        # A small file system of the host's own, never the disk of the machine.
        host.check_output("findmnt --types tmpfs --mountpoint /opt/probe/releases")
        assert host.run("dd if=/dev/zero of=/opt/probe/releases/full bs=1M").rc != 0
    try:
        said = fleet.run("deploy", SECOND, fails=True, **given)
    finally:
        if how == "disk full":
            host.check_output("rm /opt/probe/releases/full")
    if how in ("crash on start", "crash on first task", "wrong password"):
        assert "the end of its journal" in said
    if how == "disk full":
        assert "No space left" in said
    assert (fleet.worker(SECOND, "cpu").unit, worker.show("MainPID")) == (worker.unit, main)
    until(lambda: fleet.files(SECOND) == [worker.unit], 20, "nothing is left of the new one")
    if how == "wrong password":
        fleet.run("deploy", SECOND)
    serves(fleet.worker(SECOND, "cpu"))


@HERE
def test_a_drain_shows_what_runs_and_holds_until_it_is_undone(fleet: Fleet) -> None:
    io, general = fleet.worker(FIRST, "io"), fleet.worker(FIRST, "general")
    path = io.send(90)
    io.begun(path)
    said = fleet.run("drain", FIRST, fleet_pool="io", drain_timeout=8, drain_reason="a new disk")
    assert len(re.findall(r"probe\.trace \[.+\] on .+, runs for \d+ s of at most \d+", said)) >= 2
    assert "after 8 s there still runs" in said
    fleet.run("deploy", FIRST)
    assert io.show("ActiveState") == "deactivating"
    # Beside the one that still finishes.
    fleet.run("undrain", FIRST)
    serves(fleet.worker(FIRST, "io"))
    assert io.trace(path) == ["begin"]
    fleet.run("drain", FIRST, fleet_pool="io")
    assert io.ended(path, 5) == ["begin", "end"]
    assert general.show("ActiveState") == "active"
    # What a boot would do.
    drained = fleet.worker(FIRST, "io")
    drained.host.check_output(f"systemctl start {drained.unit}")
    assert drained.show("ActiveState") == "inactive"
    assert "a new disk" not in drained.host.check_output("cat /etc/celery-fleet/drained/io")
    fleet.run("undrain", FIRST)
    serves(fleet.worker(FIRST, "io"))


@HERE
@pytest.mark.parametrize(
    ("verb", "at"),
    [("deploy", "Build the release"), ("deploy", "Start the new"), ("drain", "Mark the pools")],
)
def test_a_run_that_is_killed_and_repeated_ends_clean(fleet: Fleet, verb: str, at: str) -> None:
    worker = fleet.worker(FIRST, "general")
    path = worker.send(20)
    worker.begun(path)
    running = subprocess.Popen(
        fleet.command(verb, FIRST, code=f"# {verb} {at}\n"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout
    for line in running.stdout:
        if line.startswith("TASK") and at in line:
            break
    else:
        raise AssertionError(f"{at} was never begun")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    fleet.run(verb, FIRST, code=f"# {verb} {at}\n")
    if verb == "drain":
        fleet.run("undrain", FIRST)
    assert worker.ended(path, 40) == ["begin", "end"]
    until(lambda: len(fleet.files(FIRST)) == 2, 30, "one instance of each pool is left")
    for pool in ("io", "general"):
        serves(fleet.worker(FIRST, pool))


@HERE
def test_concurrency_changes_while_tasks_run(fleet: Fleet) -> None:
    worker = fleet.worker(FIRST, "general")
    main, wanted = worker.show("MainPID"), worker.plan["concurrency"] - 1
    said = fleet.run("scale", FIRST, fleet_pool="general", scale_concurrency=wanted)
    assert "It lasts until the next deploy of general" in said
    until(lambda: len(worker.children()) == wanted, 15, f"{wanted} children are left of {worker.unit}")
    assert worker.show("MainPID") == main
    said = fleet.run("scale", FIRST, fails=True, fleet_pool="general", scale_concurrency=1000)
    assert "sizing/over-budget" in said
    said = fleet.run("scale", FIRST, fails=True, fleet_pool="nothing", scale_concurrency=1)
    assert "which fleet_pools does not have" in said
    assert len(worker.children()) == wanted
