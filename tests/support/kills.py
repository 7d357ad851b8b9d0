"""What is left when a process is killed, or power is lost, at any of its changes: each is tried."""

from __future__ import annotations

import builtins
import contextlib
import enum
import importlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

# Files that write by os.write, which the interpreter's own do not.
PYTHON_IO: Any = importlib.import_module("_pyio")

# Events of Python's auditing that announce a system call that changes files, or another process that may.
CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "subprocess.Popen", "os.posix_spawn"),
}
MAKES = os.O_CREAT | os.O_TRUNC
# More changes than any case has.
MOST = 900
# Seconds, of which each takes a hundredth.
HANGS = 300
KILLED, LOST = "killed", "power lost"
NOWHERE = Path("/nowhere")


@dataclass
class Process:
    """The process that is killed.

    Attributes:
        number: At which change, from 0 on.
        root: Directory whose files are looked after.
        lose: Whether they lose what was not written to disk.
        count: How many changes were seen.
        seen: Whether changes count now.
        on_disk: What of each file is on disk, by its inode.
        handles: Of these files, so that no other one gets the number.
    """

    number: int = 0
    root: Path = NOWHERE
    lose: bool = False
    count: int = 0
    seen: bool = False
    on_disk: dict[int, bytes] = field(default_factory=dict)
    handles: list[int] = field(default_factory=list)

    def change(self) -> bool:
        """Count a change, and end here if it is the one.

        Returns:
            Whether it counts.
        """
        if not self.seen:
            return False
        if self.count == self.number:
            self.end()
        self.count += 1
        return True

    def end(self) -> None:
        """End without a word, with the power if it is to be lost."""
        self.seen = False
        unsafe = False
        for path in _files(self.root):
            held = self.on_disk.get(path.stat().st_ino, b"")
            if path.read_bytes() != held:
                unsafe = True
                if self.lose:
                    path.chmod(0o600 | path.stat().st_mode)
                    path.write_bytes(held)
        # Two ways to end at once; the second tells that a loss of power would be another case.
        os.kill(os.getpid(), signal.SIGUSR1 if unsafe else signal.SIGKILL)

    def synced(self, handle: int) -> None:
        """Note that a file is on disk."""
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):
            again = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY)
            self.handles.append(again)
            self.on_disk[status.st_ino] = os.pread(again, status.st_size, 0)

    def all_synced(self) -> None:
        """Note that everything is on disk."""
        for path in _files(self.root):
            with unseen():
                handle = os.open(path, os.O_RDONLY)
            self.synced(handle)
            os.close(handle)


_process = Process()


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def step() -> None:
    """Count a change that a test plays, such as a request to a service: just before it."""
    _process.change()


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Change what is not the process's own, such as the state of a service that a test plays."""
    before, _process.seen = _process.seen, False
    try:
        yield
    finally:
        _process.seen = before


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & MAKES):
        _process.change()


def _watch() -> None:
    """Let everything be seen that this process changes; nothing is undone, since it ends with the work."""
    sys.dont_write_bytecode = True
    write, opened, sent = os.write, io.open, os.sendfile

    def half(handle: int, data: bytes) -> int:
        if stat.S_ISREG(os.fstat(handle).st_mode) and _process.change():
            if _process.count == _process.number and len(data) > 1:
                write(handle, bytes(memoryview(data)[: len(data) // 2]))
            _process.change()
        return write(handle, data)

    def in_python(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        return (PYTHON_IO.open if set(mode) & set("wax+") else opened)(file, mode, *more, **named)

    def send(*arguments: Any, **named: Any) -> int:
        _process.change()
        return sent(*arguments, **named)

    changed: Any
    for changed, name, new in (
        (os, "write", half),
        (os, "sendfile", send),
        (os, "fsync", _process.synced),
        (io, "open", in_python),
        (builtins, "open", in_python),
        (tarfile, "bltn_open", in_python),
        (subprocess, "run", partial(_without_sync, subprocess.run, _process.all_synced)),
    ):
        setattr(changed, name, new)
    sys.addaudithook(_look)


class End(enum.Enum):
    """How a process ended."""

    WORK = enum.auto()
    KILLED = enum.auto()
    KILLED_UNSAFE = enum.auto()


def run(
    work: Callable[[], object], number: int = -1, root: Path = Path("/nowhere"), *, lose: bool = False
) -> End:
    """Do work in a process of its own, which is killed at one of its changes if it has so many.

    Args:
        work: What is done.
        number: Which change, from 0 on: just before it, or when half of what it writes is written.
        root: Directory whose files are looked after.
        lose: Whether files there lose what was not written to disk, as with the power: the names of files
            stay, which is what file systems may do.

    Returns:
        Whether it ended with its work; or was killed, and if so, whether some file was not written to disk.
    """
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            # A process that hangs fails its test, and not the whole run.
            signal.alarm(HANGS)
            _process.number, _process.root, _process.lose = number, root, lose
            _process.all_synced()
            _watch()
            _process.seen = True
            work()
            # When all is done the power may be lost, too.
            _process.change()
        except SystemExit as end:
            if not end.code:
                _process.change()
            os._exit(1 if end.code else 0)
        except BaseException:
            _process.seen = False
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ends = {0: End.WORK, -signal.SIGKILL: End.KILLED, -signal.SIGUSR1: End.KILLED_UNSAFE}
    assert code in ends, "the work itself failed"
    return ends[code]


def kills(
    work: Callable[[], object], prepare: Callable[[], object], root: Path = Path("/nowhere")
) -> Iterator[str]:
    """Prepare anew and do work, killed at its first change, then at its second, until it has no more.

    Where a loss of power would leave something else, it is killed there again with one.

    Args:
        work: What is done.
        prepare: Makes what there is before it.
        root: Directory whose files may lose what was not written to disk.

    Yields:
        What was done to it, and at which change.
    """
    for number in range(MOST):
        prepare()
        end = run(work, number, root)
        if end is End.WORK:
            return
        yield f"{KILLED} at change {number}"
        if end is End.KILLED_UNSAFE:
            prepare()
            run(work, number, root, lose=True)
            yield f"{LOST} at change {number}"
    raise AssertionError(f"more than {MOST} changes")


def repeated(
    root: Path,
    work: Callable[[], object],
    begin: Callable[[], object],
    check: Callable[[bool], object] = lambda _: None,
    read: Callable[[], object] | None = None,
    least: int = 4,
) -> int:
    """Require that work which is killed, or loses its power, at any change ends as ever when done again.

    Args:
        root: Directory with all that the work changes; it is removed before each time.
        work: What is done.
        begin: Makes what there is before it, in a directory that is empty.
        check: Is called after each kill, for what must hold even then, with whether power was lost.
        read: Returns what must be as ever; by default all that is below the directory.
        least: How many kills there must be, so that a case which does nothing is seen.

    Returns:
        How often it was killed.
    """

    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        begin()

    prepare()
    _done(work)
    read = read or (lambda: tree(root))
    wanted, count = read(), 0
    for how in kills(work, prepare, root):
        count += 1
        check(how.startswith(LOST))
        _done(work)
        left = read()
        assert left == wanted, f"{how}: {_different(left, wanted)}"
    assert count >= least
    return count


def _done(work: Callable[[], object]) -> None:
    """Do work to its end, and write nothing to disk before its time, which takes long."""
    with (
        mock.patch.object(os, "fsync"),
        mock.patch.object(subprocess, "run", partial(_without_sync, subprocess.run, lambda: None)),
    ):
        try:
            work()
        except SystemExit as end:
            assert not end.code, "the work itself failed"


def _without_sync(run: Any, sync: Callable[[], None], command: Any, *more: Any, **named: Any) -> Any:
    if command[0] != "sync":
        return run(command, *more, **named)
    sync()
    return subprocess.CompletedProcess(command, 0, "", "")


def _different(left: object, wanted: object) -> str:
    if isinstance(left, dict) and isinstance(wanted, dict):
        return ", ".join(
            f"{key}: {left.get(key)!r:.200}" for key in left | wanted if left.get(key) != wanted.get(key)
        )
    return f"{left!r:.2000}\n{wanted!r:.2000}"


def tree(root: Path) -> dict[str, tuple[str, str]]:
    """Return all that is below a directory: its kind with its mode, and its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes().decode(errors="replace")
            if path.is_file()
            else ""
        )
        mode = "" if path.is_symlink() else stat.filemode(status.st_mode)
        found[str(path.relative_to(root))] = (mode, content)
    return found
