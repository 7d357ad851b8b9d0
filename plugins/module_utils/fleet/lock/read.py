"""The application's lock, whichever tool wrote it, and what is wrong with it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..findings import Findings
from ..release import Entry
from .check import check
from .export import FORMATS
from .pylock import read_pylock
from .requirement import Requirement, without_credentials
from .requirements_file import Read, UnreadableError, read_requirements
from .types import VARIABLE, Lock, Wanted

_PYLOCK: Final = re.compile(r"pylock(\.[^.]+)?\.toml")
# What names requirements and pins none, and what makes a lock of it.
_NO_LOCKS: Final = {
    "pyproject.toml": "uv lock",
    "setup.py": "uv pip compile --generate-hashes{python} setup.py -o requirements.lock",
    "setup.cfg": "uv pip compile --generate-hashes{python} setup.cfg -o requirements.lock",
    "Pipfile": "pipenv lock",
}
_FOREIGN: Final = {
    ".yml": "conda's environments are not supported: write what the application needs to requirements.in",
    ".yaml": "conda's environments are not supported: write what the application needs to requirements.in",
    ".json": "no tool for Python writes such a lock",
    ".toml": "the only lock with this suffix is pylock.toml",
}
# A release has the kit's own, which fits the fleet file; this one is for machines without the kit.
OWN_PACKAGE: Final = "celery-fleet"
# Larger files are none that a lock includes.
_LARGEST_BYTES: Final = 16 * 2**20


def read_lock(
    wanted: Wanted,
    files: Iterable[Entry],
    prefix: str,
    read: Callable[[str], bytes | None],
    findings: Findings,
) -> Lock | None:
    """Read the lock of an application.

    Args:
        wanted: What the site says of it.
        files: The files of the application.
        prefix: Directory in which their paths begin.
        read: Returns a file of the source by its path from the application's directory, which may begin with
            ``..``; none if there is no such file.
        findings: Receives everything that is wrong with it.

    Returns:
        The lock; none if it cannot be read.
    """
    name = wanted.requirements
    if Path(name).is_absolute():
        reason = _unreadable(Path(name))
        if reason:
            findings.add("lock/missing", VARIABLE, name, reason)
            return None
    elif read(name) is None:
        findings.add("lock/missing", VARIABLE, name, f"the source has no {name}")
        return None
    with _laid_out(name, files, prefix, read) as (directory, lock):
        try:
            found = _read(lock, directory, wanted, findings)
            needed = tuple(
                _once(
                    replace(r, path=_below(r.path, directory))
                    for r in found.requirements
                    if r.applies_somewhere() and r.name != OWN_PACKAGE
                )
            )
        except (UnreadableError, ValueError) as error:  # of a marker or an address that means nothing
            findings.add(
                "lock/unreadable",
                VARIABLE,
                name,
                without_credentials(str(error).replace(f"{directory}/", "")),
            )
            return None
        return check(replace(found, requirements=needed), wanted, findings)


def _unreadable(lock: Path) -> str:
    try:
        with lock.open("rb"):
            return ""
    except OSError as error:
        return f"the controller cannot read it: {error.strerror}"


def _below(path: str, directory: Path) -> str:
    """Return a path relative to the directory of the application, if it lies in there."""
    inside = path and Path(path).is_relative_to(directory) and Path(path).exists()
    return Path(path).relative_to(directory).as_posix() if inside else path


@contextmanager
def _laid_out(
    name: str, files: Iterable[Entry], prefix: str, read: Callable[[str], bytes | None]
) -> Iterator[tuple[Path, Path]]:
    """Write the application's files where the tools can read them.

    Yields:
        The directory of the application, and the lock.
    """
    outside = Path(name)
    if outside.is_absolute() and not _needs_project(outside):
        yield outside.parent, outside
        return
    above = 0 if outside.is_absolute() else len([part for part in outside.parts if part == ".."])
    with tempfile.TemporaryDirectory(prefix="celery-fleet-lock-") as place:
        root = Path(place).resolve()
        directory = root.joinpath(*["below"] * above)
        directory.mkdir(parents=True, exist_ok=True)
        for entry in files:
            path = directory / Path(entry.path).relative_to(prefix)
            if (
                entry.link is None
                and len(entry.data) <= _LARGEST_BYTES
                and (path.suffix != ".py" or path.name == "setup.py")
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.data)
        if outside.is_absolute():
            shutil.copy(outside, directory / outside.name)
            yield directory, directory / outside.name
            return
        lock = directory / outside
        for file in (
            name,
            *(str(outside.with_name(other)) for other in ("pyproject.toml", "uv.toml", "Pipfile")),
        ):
            content = read(file)
            if content is not None:
                (directory / file).resolve().parent.mkdir(parents=True, exist_ok=True)
                (directory / file).write_bytes(content)
        yield directory, lock


def _needs_project(lock: Path) -> bool:
    """Return whether a lock on the controller belongs to a project that does not lie beside it."""
    format = FORMATS.get(lock.name)
    return format is not None and not lock.with_name(format.beside).is_file()


def _read(lock: Path, directory: Path, wanted: Wanted, findings: Findings) -> Read:
    """Read a lock in the way of its tool.

    Raises:
        UnreadableError: It is no lock, or its tool cannot read it.
    """
    name = lock.name
    if format := FORMATS.get(name):
        home = lock.parent
        if not (home / format.beside).is_file():
            raise UnreadableError(
                f"there is no {format.beside} beside it, without which {format.tool} cannot read it"
            )
        project = directory if (directory / format.beside).is_file() else home
        found = format.read(project, wanted.groups, wanted.extras)
        if format.is_current and not format.is_current(project):
            reason = f"it does not fit the {format.beside} beside it any more"
            findings.add("lock/stale", VARIABLE, wanted.requirements, reason, f"run `{format.update}`")
        return found
    if _PYLOCK.fullmatch(name):
        return read_pylock(lock, wanted.groups, wanted.extras)
    if name in _NO_LOCKS:
        raise UnreadableError(f"it pins nothing: run `{_NO_LOCKS[name].format(python=wanted.python_option)}`")
    if lock.suffix in _FOREIGN:
        raise UnreadableError(_FOREIGN[lock.suffix])
    for given, what in ((wanted.groups, "groups"), (wanted.extras, "extras")):
        if given:
            raise UnreadableError(
                f"a requirements file has no {what}: include the file of each in another with -r, or use a "
                "lock of uv, Poetry or Pipenv"
            )
    return read_requirements(lock, directory)


def _once(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """Join lines that say the same, as files that include each other have them."""
    joined: dict[Requirement, Requirement] = {}
    for requirement in requirements:
        key = replace(requirement, hashes=(), where="", extras=())
        first = joined.setdefault(key, requirement)
        joined[key] = replace(
            first,
            hashes=tuple(dict.fromkeys(first.hashes + requirement.hashes)),
            extras=tuple(sorted({*first.extras, *requirement.extras})),
        )
    return iter(joined.values())
