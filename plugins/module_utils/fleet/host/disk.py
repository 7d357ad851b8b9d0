"""Sizes of disks, and files that a loss of power leaves as they were or as they are to be: never empty."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

MIB: Final = 1024**2
BROKER_DATA: Final = Path("/var/lib/rabbitmq")


def size_mib(directory: Path) -> int:
    """Return the size of the file system that holds, or will hold, a directory (MiB)."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    return -(-shutil.disk_usage(place).total // MIB)


def flush(place: Path) -> None:
    """Write to disk what was written to a file system so far, which takes less than as much for each file.

    Args:
        place: A directory in it.

    Raises:
        OSError: Something could not be written.
    """
    command = ["sync", "--file-system", str(place)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if process.returncode != 0:
        raise OSError(f"{place} cannot be written to disk: {process.stderr.strip()}")


def write(path: Path, content: bytes, mode: int | None = None, *, shared: bool = False) -> None:
    """Write a file, which appears at once, and is on disk before it does.

    Args:
        path: The file.
        content: What it holds.
        mode: Its mode; by default what the umask leaves.
        shared: Whether processes that do not exclude each other may write it.

    Raises:
        OSError: It could not be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid() if shared else 'new'}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    draft.replace(path)


def mark(path: Path, text: str = "") -> None:
    """Mark a directory as complete by a file in it, when everything else in it is on disk.

    Args:
        path: The file, which appears at once.
        text: What it holds.

    Raises:
        OSError: Something could not be written.
    """
    flush(path.parent)
    write(path, text.encode())
