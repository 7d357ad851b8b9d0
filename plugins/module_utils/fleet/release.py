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
    "locked_version",
    "release_id",
    "require_hashes",
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
    Path(name).replace(target)


def _requirements(lock: str) -> list[str]:
    """Return the requirements of a lock, one logical line each, without comments and options of the file."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(^|\s)#.*", "", lock, flags=re.MULTILINE)).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("-")]


def require_hashes(lock: str, where: str) -> list[str]:
    """Check that a lock pins every requirement with a hash.

    Args:
        lock: The text of the requirements file.
        where: What to call it in a message.

    Returns:
        Its requirements, one logical line each.

    Raises:
        ReleaseError: It is empty, or requirements have no hash; names the first of them.
    """
    requirements = _requirements(lock)
    bare = [line for line in requirements if "--hash=" not in line or "==" not in line]
    if bare or not requirements:
        fault = f"{bare[0]!r} has no version with a hash" if bare else "it has no requirements"
        raise ReleaseError(f"{where}: {fault}: make it with `uv pip compile --generate-hashes`")
    return requirements


def locked_version(requirement: str, requirements: list[str], where: str) -> str:
    """Find the version at which a lock pins a package.

    Args:
        requirement: A package's name, with or without a version, e.g. `shop==1.4.2`.
        requirements: Those of the lock.
        where: What to call the lock in a message.

    Raises:
        ReleaseError: The lock doesn't pin this package at this version.
    """

    def split(line: str) -> tuple[str, str]:
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*(?:==\s*([^\s;]+))?", line)
        if match is None:
            raise ReleaseError(f"{line!r} is no requirement that can be pinned: write name==version")
        return re.sub(r"[-_.]+", "-", match[1]).lower(), match[2] or ""

    name, version = split(requirement)
    pinned = dict(split(line) for line in requirements)
    if name not in pinned or version not in ("", pinned[name]):
        raise ReleaseError(f"{where} does not pin {requirement}: add it to the lock, with its hashes")
    return pinned[name]


def wheel_platforms(machine: str, glibc: str) -> list[str]:
    """List the wheel platforms that a host takes, newest first.

    Args:
        machine: The host's architecture, e.g. `x86_64`.
        glibc: Version of its C library, e.g. `2.36`.
    """
    newest = int(glibc.split(".")[1])
    legacy = ["manylinux2014"] + (["manylinux2010", "manylinux1"] if machine in ("x86_64", "i686") else [])
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)),
        *(f"{name}_{machine}" for name in legacy),
        f"linux_{machine}",
    ]
