"""A release that cannot serve leaves the old one serving, and the next run completes one that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from support.scenario import ROOT, until
from support.workers import SECOND, Fleet, serves

CRASH = """
import os
from celery.signals import task_prerun

@task_prerun.connect(weak=False)
def crash(**_):
    os._exit(3)
"""

# Code that cannot be imported: in the scenario `app`. Further failures: in tests/unit/kit/host/test_serve.py.
BROKEN: dict[str, dict[str, Any]] = {
    "crash on first task": {"code": CRASH},
    "wrong password": {"worker_log_level": "DEBUG", "worker_start_timeout": 12},
    "missing package": {"lock": "\nno-such-package-at-all==1.0 --hash=sha256:" + "0" * 64 + "\n"},
    "disk full": {"code": "# full\n"},
}


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
    if how in ("crash on first task", "wrong password"):
        assert "the end of its journal" in said
    if how == "disk full":
        assert "No space left" in said
    assert (fleet.worker(SECOND, "cpu").unit, worker.show("MainPID")) == (worker.unit, main)
    until(lambda: fleet.files(SECOND) == [worker.unit], "nothing is left of the new one", 90)
    if how == "wrong password":
        # With the right ones again nothing differs for the worker.
        fleet.run("deploy", SECOND)
        assert (fleet.worker(SECOND, "cpu").unit, worker.show("MainPID")) == (worker.unit, main)
    serves(fleet.worker(SECOND, "cpu"))


def kill_at(fleet: Fleet, step: str, verb: str, **given: Any) -> None:
    """Run a verb, and kill it when it begins a step."""
    running = subprocess.Popen(
        fleet.command(verb, SECOND, **given),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout
    for line in running.stdout:
        if line.startswith("TASK") and step in line:
            break
    else:
        raise AssertionError(f"{step} was never begun")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_run_that_is_killed_and_repeated_ends_clean(second: None, fleet: Fleet) -> None:
    worker = fleet.worker(SECOND, "cpu")
    path = worker.send(held=True)
    worker.begun(path)
    kill_at(fleet, "Unpack, install", "deploy", code="# killed\n")
    kill_at(fleet, "Start new workers", "deploy", code="# killed\n")
    fleet.run("deploy", SECOND, code="# killed\n")
    kill_at(fleet, "Mark the pools", "drain")
    worker.end(path)  # or it would be waited for
    fleet.run("drain", SECOND)
    fleet.run("undrain", SECOND)
    assert worker.ended(path) == ["begin", "end"]
    until(lambda: len(fleet.files(SECOND)) == 1, "one instance is left", 90)
    serves(fleet.worker(SECOND, "cpu"))
