"""Commands of a release: systemd runs them with the user, environment, secrets and sandbox of its workers.

What a worker has is in a file that a deploy writes from the workers' own template, one for the application
and one for each pool of the host: a key of systemd and its value on each line.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .machine import Machine
from .names import COMMAND, COMMAND_LOCK, COMMANDS, LOGS, PREFIX, RELEASE, RUN, below
from .prune import COMPLETE

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Most bytes of output that are returned at once, and seconds between two looks at a command.
PORTION: Final = 1 << 18
LOOK: Final = 0.3
_ENDED: Final = ("inactive", "failed")
_SHOWN: Final = "ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,Description,Job"


class CommandError(Exception):
    """A command can't be started; the message says why and what helps."""


@dataclass(frozen=True)
class Command:
    """A command of a release.

    Attributes:
        argv: The program and its arguments. The release's own programs come before the host's.
        root: Directory of the application.
        release: Name of the release.
        pool: Pool of the host whose environment it gets; if empty, it gets that of the whole application.
    """

    argv: Sequence[str]
    root: Path
    release: str
    pool: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a command has come.

    Attributes:
        running: Whether it still runs, or has output that is not yet read.
        output: What it printed since the last look, whole lines unless it has ended.
        offset: Where the next look begins, in bytes.
        rc: Its exit code; 128 and the number of the signal that ended it, 124 if it took too long; 0 while it
            runs.
        how: How it ended, in words.
    """

    running: bool
    output: str = ""
    offset: int = 0
    rc: int = 0
    how: str = ""


def options(host: Machine, command: Command, unit: str) -> list[str]:
    """Return the options of ``systemd-run`` for a command, and after them its arguments.

    Args:
        host: The host.
        command: The command.
        unit: Name of the unit that it will be.

    Raises:
        CommandError: The host has no such release, pool or program.
    """
    place = command.root / "releases" / command.release
    if not (place / COMPLETE).exists():
        raise CommandError(f"Release {command.release} is not complete on this host: deploy it first")
    keys = list(_keys(host, command, unit))
    programs = place / "venv" / "bin"
    search = f"{programs}:{PATH}"
    directory = Path(next((value for key, value in reversed(keys) if key == "WorkingDirectory"), str(place)))
    name = command.argv[0]
    # systemd-run would look for it with root's own PATH.
    program = shutil.which(directory / name if "/" in name else name, path=search)
    if program is None:
        where = (
            f"in {directory}"
            if "/" in name
            else f"among the programs of the release ({programs}) and of the host"
        )
        raise CommandError(f"There is no program {name} {where}")
    keys += [
        ("Environment", f"PATH={search}"),
        ("Environment", f"VIRTUAL_ENV={programs.parent}"),
        # If memory runs out, it goes before tasks.
        ("OOMScoreAdjust", "500"),
    ]
    # systemd would replace variables in arguments, which nobody expects.
    arguments = [argument.replace("$", "$$") for argument in (program, *command.argv[1:])]
    return [*(f"--property={key}={value}" for key, value in keys), "--", *arguments]


def _keys(host: Machine, command: Command, unit: str) -> Iterator[tuple[str, str]]:
    """Read what a worker has, with the release and the unit's names filled in.

    A transient unit knows no specifiers; of those that a unit's file may have, some are known here.
    """
    file, pools = below(host.root, COMMAND), below(host.root, COMMANDS)
    if command.pool:
        file = pools / f"{command.pool}.conf"
    if not file.exists():
        there = sorted(path.stem for path in pools.glob("*.conf"))
        text = f"runs the pools {', '.join(there)}" if there else "runs no pool"
        raise CommandError(
            f"Pool {command.pool} is not on this host, which {text}"
            if command.pool
            else f"There is no {file}: deploy"
        )
    specifiers = {
        "%%": "%",
        "%d": f"/run/credentials/{unit}",
        "%n": unit,
        "%N": unit.removesuffix(".service"),
    }
    for line in file.read_text().splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith(("#", ";")):
            continue
        value = value.replace(RELEASE, command.release)
        parts = value.split("%%")
        for specifier, meaning in list(specifiers.items())[1:]:
            parts = [part.replace(specifier, meaning) for part in parts]
        yield key, "%".join(parts)


class Job:
    """A command that goes on without whoever started it, and whose output is kept in a file until it is read.

    Args:
        host: The host.
        unit: Name of its unit. Two commands of one name never run at the same time.
        mark: File that systemd makes when it has ended well, so that it is known even if nobody saw the end.
    """

    def __init__(self, host: Machine, unit: str, mark: Path | None = None) -> None:
        self.host, self.unit, self.mark = host, unit, mark
        self.log = below(host.root, LOGS) / f"{unit.removesuffix('.service')}.log"

    @property
    def done(self) -> bool:
        """Whether it has ended well before."""
        return self.mark is not None and self.mark.exists()

    def start(self, command: Command, description: str, timeout: int) -> str:
        """Start it, unless it is done, or the unit runs already.

        Args:
            command: The command.
            description: What it is; by it, this very command is known if it runs already.
            timeout: Seconds that it may take.

        Returns:
            The description of what runs in the unit; if it is another one, nothing was started.

        Raises:
            CommandError: It can't be started.
            SystemdError: systemd refuses it.
        """
        with self._alone():
            if self.done:
                return description
            state = self._state()
            if _runs(state):
                return state["Description"]
            self._clear(state)
            arguments = options(self.host, command, self.unit)
            self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.log.unlink(missing_ok=True)
            self.log.touch(mode=0o600)
            # A command without a mark leaves its unit behind, which tells how it ended.
            make = "/usr/bin/install --mode=0640 /dev/null"
            marks = [f"--property=ExecStartPost=+{make} {self.mark}"] if self.mark else []
            self.host.call(
                "systemd-run",
                "--quiet",
                "--no-block",
                f"--unit={self.unit}",
                f"--description={description}",
                "--service-type=oneshot",
                "--remain-after-exit",
                f"--property=TimeoutStartSec={timeout}",
                "--property=TimeoutStopSec=10",
                f"--property=StandardOutput=file:{self.log}",
                "--property=StandardError=inherit",
                *marks,
                *arguments,
            )
        return description

    def follow(self, offset: int, wait: float, timeout: int) -> Progress:
        """Return what it printed, and how it ended if it has.

        Args:
            offset: Where to begin, in bytes.
            wait: Seconds to wait for a line or the end.
            timeout: Seconds that it may take, for the words about its end.
        """
        begun = self.host.now()
        while True:
            # In this order, so that the output of one that has ended is whole.
            state = self._state()
            output, more = self._read(offset)
            ended = not _runs(state)
            if ended and not more:
                rc, how = _end(state, timeout, self.done) or (1, f"was not run to its end: {self._journal()}")
                return Progress(False, output.decode(errors="replace"), offset + len(output), rc, how)
            lines = output[: output.rfind(b"\n") + 1] or (output if more else b"")
            if lines or self.host.now() - begun >= wait:
                return Progress(True, lines.decode(errors="replace"), offset + len(lines))
            self.host.sleep(LOOK)

    def forget(self, keep_failed: bool) -> None:
        """Remove what is left of it when it has ended.

        Args:
            keep_failed: Whether one that failed stays for others that follow it, and for ``systemctl``.
        """
        # Others may have followed it, too: those of a run that was killed go on.
        with self._alone():
            state = self._state()
            if _runs(state) or (keep_failed and state["ActiveState"] == "failed"):
                return
            self._clear(state)
        if not keep_failed:
            self.log.unlink(missing_ok=True)

    def _clear(self, state: Mapping[str, str]) -> None:
        if state["ActiveState"] == "failed":
            self.host.systemctl("reset-failed", self.unit)
        elif state["ActiveState"] != "inactive":
            self.host.systemctl("stop", self.unit)

    def _state(self) -> dict[str, str]:
        shown = self.host.systemctl("show", f"--property={_SHOWN}", "--", self.unit)
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def _journal(self) -> str:
        """Return the end of what systemd says of it."""
        lines = ["--no-pager", "--output=cat", "--lines=5", f"--unit={self.unit}"]
        return self.host.call("journalctl", *lines).strip()

    def _read(self, offset: int) -> tuple[bytes, bool]:
        """Return a portion of the output, and whether there is more."""
        if not self.log.exists():
            return b"", False
        with self.log.open("rb") as file:
            file.seek(offset)
            output = file.read(PORTION)
            return output, bool(file.read(1))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time look whether it runs, and start it or remove what is left."""
        with below(self.host.root, COMMAND_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _runs(state: Mapping[str, str]) -> bool:
    # A unit is still inactive while its start waits in systemd's queue of jobs.
    queued = state.get("Job", "") not in ("", "0")
    return queued or (state["ActiveState"] not in _ENDED and state["SubState"] != "exited")


def _end(state: Mapping[str, str], timeout: int, done: bool) -> tuple[int, str] | None:
    """Return what a command ended with, and in words; none if it could not be run, or was stopped."""
    result, code, status = state["Result"], state["ExecMainCode"], int(state["ExecMainStatus"] or 0)
    if done or state["SubState"] == "exited":
        return 0, "ended well"
    if result == "timeout":
        return 124, f"took more than {timeout} s, and was ended"
    if result == "oom-kill":
        return 137, "was killed because memory ran out"
    if code == "1" and status:
        return status, f"ended with exit code {status}"
    if code in ("2", "3"):
        return 128 + status, f"was ended by signal {status}"
    return None


def tidy(host: Machine, age: float = 86_400) -> None:
    """Remove the output of commands that ended long ago and whose reader never came back.

    Args:
        host: The host.
        age: Seconds since they printed something.
    """
    for log in below(host.root, LOGS).glob(f"{RUN}*.log"):
        if time.time() - log.stat().st_mtime > age:
            Job(host, f"{log.stem}.service").forget(keep_failed=False)


def hook_unit(kind: str) -> str:
    """Return the name of the unit of a kind of hook, of which one at a time runs on a host."""
    return f"{PREFIX}{kind}.service"


def new_unit(token: bytes | None = None) -> str:
    """Return the name of a unit that no other command has."""
    return f"{RUN}{(token or os.urandom(6)).hex()}.service"
