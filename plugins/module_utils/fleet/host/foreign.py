"""Files in a directory of another user, which root reads without trusting what lies there, and never writes.

Whoever owns the directory may put links, pipes and directories into it at any moment. So no name is followed:
the directory is opened once, and what is opened in it must be a regular file of its owner.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Bytes. More than any worker writes.
LARGEST: Final = 1024 * 1024


def read(directory: Path, name: str) -> bytes | None:
    """Return what a file holds.

    Args:
        directory: The directory, of any user.
        name: The file's name in it.

    Returns:
        Its content; none if there is no regular file of the directory's owner or root, or if it is
        larger than ``LARGEST``.
    """
    try:
        with _opened(directory) as place:
            return read_in(place, name)
    except OSError:
        return None


def read_in(place: int, name: str) -> bytes | None:
    """Return what a file in an open directory holds, as ``read`` does.

    Args:
        place: Descriptor of the directory.
        name: The file's name in it.
    """
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        with os.fdopen(file, "rb") as content:
            status, owners = os.fstat(file), {0, os.geteuid(), os.fstat(place).st_uid}
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners or status.st_nlink > 1:
                return None
            text = content.read(LARGEST + 1)
    except OSError:
        return None
    return text if len(text) <= LARGEST else None


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)
