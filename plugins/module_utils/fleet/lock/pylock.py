"""`pylock.toml`, the common format of PEP 751, read by the library of the packaging authority."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

try:
    from packaging.pylock import Package, Pylock, PylockValidationError
except ImportError:  # a controller whose packaging is older; other locks are read all the same
    Package = Pylock = PylockValidationError = None  # type: ignore[assignment, misc]

from .requirement import Repository, Requirement, has_credentials, without_credentials
from .requirements_file import Read, UnreadableError, absent

# Markers of a lock may ask for chosen extras and groups, those of a requirement may not.
_CHOICE: Final = re.compile(
    r"""(['"])(?P<name>[^'"]+)\1\s+(?P<out>not\s+)?in\s+(?P<kind>extras|dependency_groups)"""
)
_ALWAYS: Final = "python_version >= '0'"
_NEVER: Final = "python_version < '0'"


def read_pylock(file: Path, groups: Sequence[str], extras: Sequence[str]) -> Read:
    """Read a lock of PEP 751.

    Args:
        file: The lock.
        groups: Dependency groups that are installed beside the default ones.
        extras: Extras that are installed.

    Raises:
        UnreadableError: It is none.
    """
    return parse_pylock(file.read_bytes(), file, groups, extras)


def parse_pylock(content: bytes, file: Path, groups: Sequence[str] = (), extras: Sequence[str] = ()) -> Read:
    """Read the content of a lock of PEP 751, see ``read_pylock``; paths in it are relative to the file's."""
    if Pylock is None:
        raise UnreadableError(absent("packaging"))
    try:
        document = tomllib.loads(content.decode())
        lock = Pylock.from_dict(document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PylockValidationError) as error:
        raise UnreadableError(f"it is no pylock.toml: {without_credentials(str(error))}") from error
    _check_known(lock, groups, extras)
    chosen = {"dependency_groups": {*groups, *(lock.default_groups or ())}, "extras": set(extras)}
    return Read(
        tuple(_requirement(package, file, chosen) for package in lock.packages),
        tuple(
            dict.fromkeys(without_credentials(package.index) for package in lock.packages if package.index)
        ),
        str(lock.requires_python or ""),
        tuple(file.name for text in map(str, _texts(document)) if "://" in text and has_credentials(text))[
            :1
        ],
    )


def _check_known(lock: Pylock, groups: Sequence[str], extras: Sequence[str]) -> None:
    for kind, asked, known in (
        ("groups", groups, lock.dependency_groups),
        ("extras", extras, lock.extras),
    ):
        if unknown := set(asked) - set(known or ()):
            has = ", ".join(known or ()) or "none"
            raise UnreadableError(f"it has no {kind} {', '.join(sorted(unknown))}; it has {has}")


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _requirement(package: Package, lock: Path, chosen: Mapping[str, set[str]]) -> Requirement:
    def decided(match: re.Match[str]) -> str:
        return _ALWAYS if (match["name"] in chosen[match["kind"]]) != bool(match["out"]) else _NEVER

    place: dict[str, Any] = {}
    archives = [*(package.wheels or ()), package.sdist, package.archive]
    if package.vcs:
        where = package.vcs.url or package.vcs.path or ""
        place["repository"] = Repository(
            package.vcs.type,
            without_credentials(where),
            package.vcs.commit_id,
            package.vcs.subdirectory or "",
        )
    elif package.archive and package.archive.url:
        place["url"] = without_credentials(package.archive.url)
    elif package.archive or package.directory:
        part = package.archive or package.directory
        place["path"] = str((lock.parent / (part.path or "")).resolve()) if part else ""
    hashes = (f"{kind}:{digest}" for file in archives if file for kind, digest in file.hashes.items())
    archive = place.get("url") or place.get("path") or "" if place else None
    return Requirement(
        package.name,
        "" if place else str(package.version or ""),
        _CHOICE.sub(decided, str(package.marker or "")),
        tuple(sorted({*hashes})),
        wheels=_wheels(package, archive),
        where=lock.name,
        **place,
    )


def _wheels(package: Package, archive: str | None) -> tuple[str, ...]:
    """Return the names of a package's wheels, or of the archive that stands for them."""
    if archive is None:
        return tuple(wheel.filename for wheel in package.wheels or ())
    name = archive.rpartition("/")[2]
    return (name,) if name.endswith(".whl") else ()
