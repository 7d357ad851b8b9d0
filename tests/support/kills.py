"""What is left when a process is killed at any of its changes: it is killed at each, and started again."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Events of Python's auditing that announce a system call that changes files, or another process that may.
CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "subprocess.Popen", "os.posix_spawn"),
}
KILLED = 137
# More changes than any case has.
MOST = 500


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do work in a process that ends without a word at one of its changes, as one that is killed.

    Args:
        number: Which change, from 0 on: just before it, or when a file was made and is empty.
        work: What is done.

    Returns:
        Whether it had so many changes; if not, it has ended as ever.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event == "open":
                path, _mode, flags = arguments
                if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                    return
            elif event not in CHANGES:
                return
            if count == number:
                if event == "open" and isinstance(path, str) and path.startswith("/"):
                    Path(path).touch(mode=0o600)
                os._exit(KILLED)
            count += 1

        try:
            sys.addaudithook(look)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), "the work itself failed"
    return code == KILLED


def kills(work: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """Prepare anew and do work, killed at its first change, then at its second, until it has no more.

    Yields:
        The number of the change, when the process has been killed.
    """
    for number in range(MOST):
        prepare()
        if not killed_at(number, work):
            return
        yield number
    raise AssertionError(f"more than {MOST} changes")


def tree(root: Path) -> dict[str, tuple[str, str]]:
    """Return all that is below a directory: its kind with its mode, and its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        mode = "" if path.is_symlink() else stat.filemode(status.st_mode)
        found[str(path.relative_to(root))] = (mode, content)
    return found
