"""`celery-fleet run`: what systemd is asked for, and what becomes of the command's end and of signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fleet.host import operator
from fleet.host.command import PATH
from fleet.host.names import COMMAND, COMMANDS, below
from fleet.host.operator import NOT_STARTED, USAGE_ERROR, main

MODULE_UTILS = Path(operator.__file__).parents[2]
# Runs what comes after the options, and writes down what it was called with.
SYSTEMD_RUN = """\
#!/bin/sh
printf '%s\\n' "$@" >"$CALLED"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
SYSTEMCTL = """\
#!/bin/sh
printf '%s\\n' "$@" >"$CALLED.signal"
kill -KILL "$(cat "$CALLED.pid")"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an application with the releases r1 and r2, of which r1 is the current one."""
    root, programs = tmp_path / "shop", tmp_path / "programs"
    for release in ("r1", "r2"):
        (root / "releases" / release / "venv/bin").mkdir(parents=True)
        (root / "releases" / release / ".complete").touch()
    (root / "current").symlink_to("releases/r1")
    for conf in (COMMAND, COMMANDS / "io.conf"):
        file = below(tmp_path, conf)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"User=celery-fleet\nWorkingDirectory={root}/releases/@release@\n")
    programs.mkdir()
    for name, text in {"systemd-run": SYSTEMD_RUN, "systemctl": SYSTEMCTL}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    machine = operator.Machine
    monkeypatch.setattr(operator, "Machine", lambda: machine(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return root


def called(root: Path) -> list[str]:
    return (root.parent / "called").read_text().splitlines()


@pytest.mark.parametrize("between", [[], ["--"]])
def test_it_ends_as_the_command_does(root: Path, between: list[str]) -> None:
    assert main(root, ["run", *between, "sh", "-c", "exit 7"]) == 7
    options = called(root)
    assert {"--wait", "--collect", "--pipe", "--property=User=celery-fleet"} <= set(options)
    assert f"--property=WorkingDirectory={root}/releases/r1" in options
    assert not any(option.startswith("--property=RuntimeMaxSec") for option in options)


def test_options_name_the_release_the_pool_and_the_time(root: Path) -> None:
    assert main(root, ["run", "--release", "r2", "--pool", "io", "--timeout", "5", "true", "--pool"]) == 0
    options = called(root)
    assert f"--property=WorkingDirectory={root}/releases/r2" in options
    assert "--property=RuntimeMaxSec=5" in options
    assert options[-1] == "--pool", "what follows the program is its own"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["nowhere"], "There is no program nowhere"),
        (["--release", "r3", "true"], "Release r3 is not complete on this host"),
        (["--pool", "cpu", "true"], "cpu"),
    ],
)
def test_what_the_host_does_not_have_is_said(
    root: Path, asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(root, ["run", *asked]) == NOT_STARTED
    assert said in capsys.readouterr().err
    assert not (root.parent / "called").exists()


def test_workers_are_asked_by_a_process_with_a_worker_s_login(root: Path) -> None:
    programs = root / "releases/r1/venv/bin"
    (programs / "python").write_text('#!/bin/sh\necho "$CELERY_FLEET_POOL $*" >"$CALLED.asked"\nexit 69\n')
    (programs / "python").chmod(0o755)
    # What the release's own PATH is to a unit of systemd.
    path = f"{programs}:{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        assert main(root, ["inspect", "active", "-j", "--timeout", "5"]) == 69
    asked = (root.parent / "called.asked").read_text()
    assert asked == "io -P -m celery_fleet inspect active -j --timeout 5\n"
    assert f"--property=Environment=PATH={programs}:{PATH}" in called(root)


def test_a_host_without_pools_may_not_ask_workers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    below(root.parent, COMMANDS / "io.conf").unlink()
    assert main(root, ["inspect", "active"]) == NOT_STARTED
    assert "runs no pool" in capsys.readouterr().err


def test_without_a_deploy_there_is_nothing_to_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "current").unlink()
    assert main(root, ["run", "true"]) == NOT_STARTED
    assert "deploy first" in capsys.readouterr().err


def test_others_than_root_are_told_of_sudo(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(root, ["run", "true"]) == USAGE_ERROR
    assert "use sudo" in capsys.readouterr().err


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def test_a_signal_reaches_the_unit(root: Path) -> None:
    """Of a process between pipes, since whoever ends it must not leave the command behind."""
    command = 'echo $$ >"$CALLED.pid"; echo started; exec sleep 600'
    code = f"""\
        import sys
        sys.path.insert(0, {str(MODULE_UTILS)!r})
        from fleet.host.operator import _run
        sys.exit(_run("celery-fleet-run-1", ["--", "sh", "-c", {command!r}], None))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        while not catches(process.pid, signal.SIGTERM):
            time.sleep(0.01)
        process.terminate()
        assert process.wait() != 0
    said = (root.parent / "called.signal").read_text().splitlines()
    assert said == ["kill", "--signal=SIGTERM", "celery-fleet-run-1"]
