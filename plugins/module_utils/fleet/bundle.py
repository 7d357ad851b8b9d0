"""The archive of a release on the controller: the application's source, the package and the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .findings import Findings
from .preflight.versions import read_lock
from .release import (
    Entry,
    ReleaseError,
    archive,
    locked_version,
    release_id,
    require_hashes,
)
from .source.build import NotBuiltError, build_wheel
from .source.project import Project, wheel_requires
from .source.read import PREFIX, Source, read_source
from .source.tree import from_directory


@dataclass(frozen=True)
class Application:
    """What a site says of its application.

    Attributes:
        name: Its name, which labels a release that has no version.
        source: ``type`` (``directory``, ``git`` or ``package``) with the fields of that type.
        requirements: Lock with hashes: its path in the source, or of a package on the controller.
        python: Interpreter on the hosts.
        install: Whether the project itself is installed; ``auto``: if its own tools would.
    """

    name: str
    source: Mapping[str, Any]
    requirements: str
    python: str
    install: bool | str = "auto"


@dataclass(frozen=True)
class Bundle:
    """What the controller has of a release.

    Attributes:
        release: Its name; empty if it could not be made.
        archive: Its archive.
        lock: A copy of its lock, named after the content.
        versions: The versions of Celery and kombu that the lock pins.
        left_out: Files of the source that are left out and may be missed; told when the archive is written.
        requires_python: Specifier of the Pythons on which the application runs; empty if it says none.
    """

    release: str = ""
    archive: Path | None = None
    lock: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    requires_python: str = ""


def make_bundle(application: Application, package: Path, cache: Path, findings: Findings) -> Bundle:
    """Collect a release, and write its archive unless the cache has it.

    Args:
        application: The application.
        package: Directory of the package ``celery_fleet``.
        cache: Directory for archives, locks and git mirrors.
        findings: Receives everything that keeps the application from becoming a release.

    Returns:
        The release. The same content has the same name on every controller.
    """
    if application.source["type"] == "package":
        source, lock = _package(application, findings)
    else:
        source = read_source(application.source, application.name, cache, findings)
        lock = _lock(application, source, findings) if source else b""
    about = Bundle(
        versions=read_lock(lock.decode()), requires_python=source.project.requires_python if source else ""
    )
    if source is None or findings.errors:
        return about
    entries = [*source.files, *from_directory(package, "kit/celery_fleet"), Entry("requirements.lock", lock)]
    install = source.project.installs if application.install == "auto" else bool(application.install)
    release = release_id(source.label, entries, f"{application.python} {install}")
    packed = cache / "releases" / f"{release}.tar.gz"
    fresh = not packed.is_file()
    if fresh:
        wheels = [_built(application, source, findings)] if install else []
        if findings.errors:
            return about
        archive([*entries, *filter(None, wheels)], packed)
    copy = cache / "locks" / f"{_short_hash(lock)}.lock"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(lock)
    left_out = source.left_out if fresh else ()
    return replace(about, release=release, archive=packed, lock=copy, left_out=left_out)


def _lock(application: Application, source: Source, findings: Findings) -> bytes:
    """Return the lock of a source."""
    lock = source.read(application.requirements)
    if lock is None:
        reason = f"the source has no {application.requirements}"
        findings.add("lock/missing", "fleet_app.requirements", application.requirements, reason)
        return b""
    try:
        require_hashes(lock.decode(), application.requirements)
    except ReleaseError as error:
        findings.add("lock/no-hashes", "fleet_app.requirements", application.requirements, str(error))
    return lock


def _package(application: Application, findings: Findings) -> tuple[Source | None, bytes]:
    """Return the wheel, or the version of a package, and the lock beside it."""
    requirement, lock = application.source["requirement"], Path(application.requirements)
    wheel = Path(requirement) if requirement.endswith(".whl") else None
    if wheel and not wheel.is_file():
        reason = "there is no such wheel on the controller"
        findings.add("source/missing", "fleet_app.source.requirement", requirement, reason)
    if not lock.is_file():
        reason = "there is no such file on the controller; a package needs its lock's path there"
        findings.add("lock/missing", "fleet_app.requirements", application.requirements, reason)
        return None, b""
    try:
        pinned = require_hashes(lock.read_text(), str(lock))
        version = "" if wheel else locked_version(requirement, pinned, str(lock))
    except ReleaseError as error:
        findings.add("lock/no-hashes", "fleet_app.requirements", application.requirements, str(error))
        return None, b""
    if wheel is None:
        return Source(version, [], lambda _: None), lock.read_bytes()
    if not wheel.is_file():
        return None, b""
    entry = Entry(f"package/{wheel.name}", wheel.read_bytes())
    project = Project(wheel.name, wheel_requires(wheel))
    return Source(wheel.name.split("-")[1], [entry], lambda _: None, project), lock.read_bytes()


def _built(application: Application, source: Source, findings: Findings) -> Entry | None:
    """Return the wheel of the source's own project."""
    reason = "the source has neither a pyproject.toml with a project nor a setup.py"
    if source.project.buildable:
        try:
            return build_wheel(source.files, PREFIX, source.version)
        except NotBuiltError as error:
            reason = str(error)
    findings.add("source/not-built", "fleet_app.install", application.install, reason)
    return None


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
