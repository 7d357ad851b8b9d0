"""Files in a directory of another user, which root reads and writes without trusting what lies there.

Whoever owns the directory may put links, pipes and directories into it at any moment. So no name is followed:
the directory is opened once, and what is opened in it must be a regular file of its owner, or is made anew.
"""

from __future__ import annotations

import contextlib
import os
import secrets
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
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
            with os.fdopen(file, "rb") as content:
                status, owners = os.fstat(file), {0, os.geteuid(), os.fstat(place).st_uid}
                if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners or status.st_nlink > 1:
                    return None
                text = content.read(LARGEST + 1)
    except OSError:
        return None
    return text if len(text) <= LARGEST else None


def write(directory: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Write a file, in place of whatever has its name.

    Args:
        directory: The directory, of any user.
        name: The file's name in it.
        text: What it is to hold.
        mode: Its mode.

    Raises:
        FileNotFoundError: There is no such directory.
        OSError: The directory is a link, or a directory has the file's name.
    """
    draft = f".{name}.{secrets.token_hex(8)}"
    with _opened(directory) as place:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(draft, flags, 0o600, dir_fd=place)
        try:
            with os.fdopen(file, "w") as content:
                content.write(text)
                os.fchmod(file, mode)
            os.rename(draft, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=place)
            raise


def remove(directory: Path, name: str) -> None:
    """Remove a file, or a link of that name; nothing happens if there is none.

    Raises:
        OSError: The directory is a link, or a directory has the file's name.
    """
    with contextlib.suppress(FileNotFoundError), _opened(directory) as place:
        os.unlink(name, dir_fd=place)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)
