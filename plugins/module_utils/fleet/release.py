"""Releases of the user's application: what is in one, and the name that its content gives it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Entry",
    "ReleaseError",
    "archive",
    "release_id",
    "wheel_platforms",
]

_ID_LENGTH = 12


class ReleaseError(Exception):
    """The application can't be made a release; the message says what to change."""


@dataclass(frozen=True)
class Entry:
    """One file of a release.

    Args:
        path: Where it is in the release, with forward slashes.
        data: Its content; of a symbolic link, empty.
        executable: Whether it may be executed.
        link: Target of a symbolic link, or None.
    """

    path: str
    data: bytes
    executable: bool = False
    link: str | None = None


def release_id(label: str, entries: Iterable[Entry], python: str) -> str:
    """Name a release after its content, the same on every machine and at any time.

    Args:
        label: What a person knows it by: the application's name, a version, a tag.
        entries: All its files.
        python: The interpreter that its virtual environment is made with.

    Returns:
        `<label>-<12 hexadecimal digits>`, fit for a directory and for the instance of a systemd unit.
    """
    digest = hashlib.sha256(python.encode())
    for entry in sorted(entries, key=lambda item: item.path):
        for part in (
            entry.path.encode(),
            b"x" if entry.executable else b"-",
            (entry.link or "").encode(),
            entry.data,
        ):
            digest.update(len(part).to_bytes(8, "big") + part)
    short = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-.")[:24].rstrip("-.")
    return f"{short}-{digest.hexdigest()[:_ID_LENGTH]}"


def archive(entries: Iterable[Entry], target: Path) -> None:
    """Write the files as a compressed tar archive, byte for byte the same for the same files.

    Args:
        entries: What goes in.
        target: The archive; appears there at once, complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two runs on one controller may write the same archive at once.
    number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with (
        os.fdopen(number, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in sorted(entries, key=lambda item: item.path):
            member = tarfile.TarInfo(entry.path)
            member.mode = 0o755 if entry.executable else 0o644
            if entry.link is None:
                member.size = len(entry.data)
                tar.addfile(member, io.BytesIO(entry.data))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(member)
    # What the cache has is never made again.
    with Path(name).open("rb") as written:
        os.fsync(written.fileno())
    Path(name).replace(target)


def wheel_platforms(machine: str, glibc: str) -> list[str]:
    """List the wheel platforms that a host takes, newest first.

    Args:
        machine: The host's architecture, e.g. `x86_64`.
        glibc: Version of its C library, e.g. `2.36`.

    Raises:
        ReleaseError: The library is another one, or its version cannot be read.
    """
    numbers = re.fullmatch(r"2\.(\d{1,3})", glibc)
    if not numbers:
        raise ReleaseError(
            f"the host's C library is not glibc, but {glibc or 'another one'}: no wheels are looked for there"
        )
    newest = int(numbers[1])
    legacy = ["manylinux2014"] + (["manylinux2010", "manylinux1"] if machine in ("x86_64", "i686") else [])
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)),
        *(f"{name}_{machine}" for name in legacy),
        f"linux_{machine}",
    ]
