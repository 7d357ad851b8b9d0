"""The archive of a release on the controller: the application's source, the package and the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .release import (
    Entry,
    ReleaseError,
    archive,
    locked_version,
    release_id,
    require_hashes,
)
from .source.git import from_git
from .source.tree import from_directory


@dataclass(frozen=True)
class Application:
    """What a site says of its application.

    Attributes:
        name: Its name, which labels a release that has no version.
        source: ``type`` (``directory``, ``git`` or ``package``) with ``path``, ``url`` and ``version``, or
            ``requirement``.
        requirements: Lock with hashes: its path in the source, or of a package on the controller.
        python: Interpreter on the hosts.
    """

    name: str
    source: Mapping[str, Any]
    requirements: str
    python: str


@dataclass(frozen=True)
class Bundle:
    """What the controller has of a release.

    Attributes:
        release: Its name.
        archive: Its archive.
        lock: A copy of its lock, named after the content.
        wheel: Path in the release of the application's own wheel; empty if it has none.
    """

    release: str
    archive: Path
    lock: Path
    wheel: str


def make_bundle(application: Application, package: Path, cache: Path) -> Bundle:
    """Collect a release, and write its archive unless the cache has it.

    Args:
        application: The application.
        package: Directory of the package ``celery_fleet``.
        cache: Directory for archives, locks and git mirrors.

    Returns:
        The release. The same content has the same name on every controller.

    Raises:
        ReleaseError: The application can't be made a release.
    """
    label, files, lock = _collect(application, cache)
    entries = [*files, *from_directory(package, "kit/celery_fleet"), Entry("requirements.lock", lock)]
    release = release_id(label, entries, application.python)
    packed = cache / "releases" / f"{release}.tar.gz"
    if not packed.is_file():
        archive(entries, packed)
    copy = cache / "locks" / f"{_short_hash(lock)}.lock"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(lock)
    wheels = (entry.path for entry in files if Path(entry.path).match("package/*.whl"))
    return Bundle(release, packed, copy, next(wheels, ""))


def _collect(application: Application, cache: Path) -> tuple[str, list[Entry], bytes]:
    """Return the label, the files and the lock of an application."""
    source = application.source
    if source["type"] == "package":
        return _collect_package(source["requirement"], Path(application.requirements))
    if source["type"] == "git":
        mirror = cache / "git" / _short_hash(source["url"].encode())
        files, commit = from_git(source["url"], source["version"], mirror, "src")
        label = commit[:12] if source["version"] == commit else source["version"]
    else:
        files, label = from_directory(Path(source["path"]), "src"), application.name
    locks = [entry.data for entry in files if entry.path == f"src/{application.requirements}"]
    if not locks:
        raise ReleaseError(
            f"fleet_app.requirements: the source has no {application.requirements}; "
            "make it with `uv pip compile --generate-hashes`, or name the lock that it has"
        )
    require_hashes(locks[0].decode(), application.requirements)
    return label, files, locks[0]


def _collect_package(requirement: str, lock: Path) -> tuple[str, list[Entry], bytes]:
    if not lock.is_file():
        raise ReleaseError(
            f"fleet_app.requirements: {lock} is no file on the controller; a package needs its path"
        )
    pinned = require_hashes(lock.read_text(), str(lock))
    if not requirement.endswith(".whl"):
        return locked_version(requirement, pinned, str(lock)), [], lock.read_bytes()
    wheel = Path(requirement)
    if not wheel.is_file():
        raise ReleaseError(f"fleet_app.source.requirement: there is no wheel {wheel} on the controller")
    entry = Entry(f"package/{wheel.name}", wheel.read_bytes())
    return wheel.name.split("-")[1], [entry], lock.read_bytes()


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
