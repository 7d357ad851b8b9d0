"""Commands of a release: what systemd is asked for, what is read of them, and what two runs make of one."""

from __future__ import annotations

import fcntl
import shlex
from pathlib import Path

import pytest
from fleet.host.command import Command, CommandError, Job, Progress, hook_unit, new_unit, options, tidy
from fleet.host.machine import Machine
from fleet.host.names import COMMAND, COMMAND_LOCK, COMMANDS, LOGS, below

CONF = r"""# What a command has
User=celery-fleet
WorkingDirectory=/nowhere/releases/@release@

Environment="A=50%% of \"it\""
Environment=KEY=%d/key
LoadCredential=key:/etc/celery-fleet/key
"""
RUNNING = {"ActiveState": "activating", "SubState": "start", "Result": "success"}
GONE = {"ActiveState": "inactive", "SubState": "dead", "Result": "success"}
EXITED = {"ActiveState": "active", "SubState": "exited", "Result": "success", "ExecMainCode": "1"}


class Systemd:
    """Units that do what a test says."""

    def __init__(self, root: Path) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.clock = 0.0
        self.host = Machine(root, self, lambda: self.clock, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def __call__(self, *command: str) -> str:
        self.calls.append(command)
        if command[0] == "journalctl":
            return "Failed to load the environment: no such file\n"
        if command[0] == "systemd-run":
            given = dict(word[2:].partition("=")[::2] for word in command if word.startswith("--"))
            self.units[given["unit"]] = {**RUNNING, "Description": given["description"]}
        elif command[1] in ("stop", "reset-failed"):
            del self.units[command[2]]
        state = {
            "ExecMainCode": "0",
            "ExecMainStatus": "0",
            "Description": "",
            **self.units.get(command[-1], GONE),
        }
        return "".join(f"{key}={value}\n" for key, value in state.items())

    @property
    def started(self) -> list[list[str]]:
        """Arguments of the commands that were started."""
        return [list(call[call.index("--") + 1 :]) for call in self.calls if call[0] == "systemd-run"]


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    pools = below(tmp_path, COMMANDS)
    pools.mkdir(parents=True)
    below(tmp_path, COMMAND).write_text(CONF)
    (pools / "io.conf").write_text(CONF + "Environment=POOL=io\n")
    below(tmp_path, COMMAND_LOCK).parent.mkdir()
    programs = tmp_path / "opt/releases/r1/venv/bin"
    programs.mkdir(parents=True)
    (programs / "manage").write_text("#!/bin/sh\n")
    (programs / "manage").chmod(0o755)
    (programs.parents[1] / ".complete").touch()
    return Systemd(tmp_path)


def command(systemd: Systemd, *argv: str, release: str = "r1", pool: str = "") -> Command:
    return Command(argv, systemd.host.root / "opt", release, pool)


def migrate(systemd: Systemd, description: str = "Migrate") -> tuple[Job, str]:
    """Start a hook, and return it and what runs in its unit."""
    mark = systemd.host.root / "opt/releases/r1/.before_release-1"
    job = Job(systemd.host, hook_unit("before_release"), mark)
    return job, job.start(command(systemd, "manage", "migrate"), description, 60)


def test_a_command_has_what_workers_have_and_finds_the_programs_of_its_release(systemd: Systemd) -> None:
    *keys, _, program, argument = options(systemd.host, command(systemd, "manage", "100% $HOME"), "u.service")
    programs = systemd.host.root / "opt/releases/r1/venv/bin"
    assert program == str(programs / "manage")
    # systemd would replace the variable, and takes a percent sign as it is.
    assert argument == "100% $$HOME"
    given = [key.removeprefix("--property=") for key in keys]
    assert given[:5] == [
        "User=celery-fleet",
        "WorkingDirectory=/nowhere/releases/r1",
        r'Environment="A=50% of \"it\""',
        "Environment=KEY=/run/credentials/u.service/key",
        "LoadCredential=key:/etc/celery-fleet/key",
    ]
    assert f"Environment=VIRTUAL_ENV={programs.parent}" in given
    assert any(key.startswith(f"Environment=PATH={programs}:") for key in given)


@pytest.mark.parametrize("number", ["0", ""])
def test_one_that_systemd_has_not_begun_yet_has_not_ended(systemd: Systemd, number: str) -> None:
    job, description = migrate(systemd)
    systemd.units[job.unit] = {**GONE, "Job": "4711", "Description": description}
    assert job.follow(0, 1, 60) == Progress(True)
    assert migrate(systemd)[1] == description
    assert len(systemd.started) == 1
    systemd.units[job.unit] = {**EXITED, "Job": number}
    assert job.follow(0, 1, 60) == Progress(False, how="ended well")


def test_a_command_may_have_the_environment_of_a_pool_of_the_host(systemd: Systemd) -> None:
    assert "--property=Environment=POOL=io" in options(systemd.host, command(systemd, "sh", pool="io"), "u")
    with pytest.raises(CommandError, match="Pool cpu is not on this host, which runs the pools io"):
        options(systemd.host, command(systemd, "sh", pool="cpu"), "u")


@pytest.mark.parametrize(
    ("program", "release", "reason"),
    [
        ("mnage", "r1", "no program mnage among the programs of the release"),
        ("./mnage", "r1", "no program ./mnage in /nowhere/releases/r1"),
        ("manage", "r2", "Release r2 is not complete on this host"),
    ],
)
def test_what_is_not_there_is_named(systemd: Systemd, program: str, release: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        Job(systemd.host, new_unit()).start(command(systemd, program, release=release), "x", 60)
    assert systemd.started == []


def test_a_host_without_a_deploy_says_so(systemd: Systemd) -> None:
    below(systemd.host.root, COMMAND).unlink()
    with pytest.raises(CommandError, match=r"There is no .*command\.conf: deploy"):
        options(systemd.host, command(systemd, "sh"), "u")


def test_whole_lines_are_read_until_the_end_and_a_hook_leaves_its_record(systemd: Systemd) -> None:
    job, _ = migrate(systemd)
    (call,) = (call for call in systemd.calls if call[0] == "systemd-run")
    assert f"--property=ExecStartPost=+/usr/bin/install --mode=0640 /dev/null {job.mark}" in call
    assert "--property=TimeoutStartSec=60" in call
    job.log.write_text("one\ntw")
    assert job.follow(0, 5, 60) == Progress(True, "one\n", 4)
    assert job.follow(4, 5, 60) == Progress(True, "", 4)
    assert systemd.clock >= 5
    job.log.write_text("one\ntwo\nend")
    systemd.units[job.unit] = EXITED
    assert job.mark
    job.mark.touch()
    assert job.follow(4, 5, 60) == Progress(False, "two\nend", 11, 0, "ended well")
    job.forget(keep_failed=True)
    assert systemd.units == {}
    assert migrate(systemd)[0].done
    assert len(systemd.started) == 1


def test_a_large_output_comes_in_portions(systemd: Systemd) -> None:
    job, _ = migrate(systemd)
    text = "".join(f"{number}\n" for number in range(100_000))
    job.log.write_text(text)
    systemd.units[job.unit] = EXITED
    parts, offset, running = [], 0, True
    while running:
        progress = job.follow(offset, 5, 60)
        parts.append(progress.output)
        offset, running = progress.offset, progress.running
    assert len(parts) > 1
    assert "".join(parts) == text


@pytest.mark.parametrize(
    ("state", "rc", "how"),
    [
        ({"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"}, 3, "exit code 3"),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, 137, "signal 9"),
        ({"Result": "timeout", "ExecMainCode": "2", "ExecMainStatus": "15"}, 124, "more than 60 s"),
        ({"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9"}, 137, "memory"),
        ({"Result": "resources", "ExecMainCode": "0", "ExecMainStatus": "0"}, 1, "no such file"),
    ],
)
def test_a_failure_is_told_and_the_next_run_starts_anew(
    systemd: Systemd, state: dict[str, str], rc: int, how: str
) -> None:
    job, _ = migrate(systemd)
    systemd.units[job.unit] = {"ActiveState": "failed", "SubState": "failed", **state}
    progress = job.follow(0, 5, 60)
    assert (progress.running, progress.rc) == (False, rc)
    assert how in progress.how
    # Another run that follows it must see the same.
    job.forget(keep_failed=True)
    assert job.follow(0, 5, 60).rc == rc
    job.log.write_text("of the first attempt")
    migrate(systemd)
    assert len(systemd.started) == 2
    assert job.log.read_text() == ""


def test_a_second_run_follows_the_same_hook_and_waits_for_another(systemd: Systemd) -> None:
    first, _ = migrate(systemd)
    first.log.write_text("begun\n")
    second, runs = migrate(systemd)
    assert runs == "Migrate"
    assert second.follow(0, 5, 60).output == "begun\n"
    assert migrate(systemd, "Migrate, of another release")[1] == "Migrate"
    assert len(systemd.started) == 1


def test_of_two_that_follow_a_hook_one_at_a_time_removes_what_is_left(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = migrate(systemd)
    systemd.units[first.unit] = EXITED

    def stops(*command: str) -> str:
        if command[1] == "stop":
            with below(systemd.host.root, COMMAND_LOCK).open("w") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return systemd(*command)

    monkeypatch.setattr(systemd.host, "call", stops)
    first.forget(keep_failed=True)
    assert ("systemctl", "stop", first.unit) in systemd.calls
    # The unit is gone, and with it systemd's answer to an order to stop it.
    first.forget(keep_failed=True)
    assert systemd.units == {}


def test_the_output_of_a_command_goes_with_its_reader_or_after_a_day(systemd: Systemd) -> None:
    job = Job(systemd.host, new_unit())
    job.start(command(systemd, "manage"), "x", 60)
    assert job.log.parent == below(systemd.host.root, LOGS)
    assert [path.stat().st_mode & 0o777 for path in (job.log, job.log.parent)] == [0o600, 0o700]
    assert not any("ExecStartPost" in word for word in shlex.split(" ".join(systemd.calls[-1])))
    tidy(systemd.host, age=-1)
    assert job.log.exists(), "it still runs"
    systemd.units[job.unit] = EXITED
    tidy(systemd.host)
    assert job.log.exists()
    tidy(systemd.host, age=-1)
    assert not job.log.exists()
    assert systemd.units == {}
