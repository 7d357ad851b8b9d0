"""The archive of a release on the controller: the application's source, the package and the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from .findings import Findings
from .host import disk
from .lock.fetch import Origin, fetch_sources
from .lock.read import read_lock
from .lock.types import Lock, Wanted
from .model.application import content
from .preflight.versions import LIBRARIES, RESULTS_LIBRARY, check_libraries
from .release import Entry, archive, release_id
from .source.build import NotBuiltError, build_wheel
from .source.project import Project, wheel_requires
from .source.read import PREFIX, Source, access_of, read_source
from .source.tree import from_directory

# Where the kit's own packages lie in a release.
KIT: Final = "kit"
# Where the wheels of projects lie in it that the lock names by their paths in the source.
LOCAL: Final = "local"
# Where further files of the site lie in it; Python looks here first.
FILES: Final = "files"


@dataclass(frozen=True)
class Application:
    """What a site says of its application.

    Attributes:
        name: Its name, which labels a release that has no version.
        source: ``type`` (``directory``, ``git`` or ``package``) with the fields of that type.
        lock: What it says of its lock.
        install: Whether the project itself is installed; ``auto``: if its own tools would.
        autoconfigure: Module and app that become a member of the fleet by themselves; empty: none.
        files: Further files by their paths, each with its ``content``, or the path of its ``source``.
        working_directory: Where processes start; if it is relative, it must be in the source.
        indexes: Indexes of packages, as ``fleet_app.indexes``.
    """

    name: str
    source: Mapping[str, Any]
    lock: Wanted
    install: bool | str = "auto"
    autoconfigure: str = ""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    working_directory: str = ""
    indexes: Sequence[Mapping[str, Any]] = ()


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


def make_bundle(
    application: Application, package: Path, builders: Path, cache: Path, findings: Findings
) -> Bundle:
    """Collect a release, and write its archive unless the cache has it.

    Args:
        application: The application.
        package: Directory of the package ``celery_fleet``.
        builders: Lock of what builds packages without a wheel.
        cache: Directory for archives, locks and git mirrors.
        findings: Receives everything that keeps the application from becoming a release.

    Returns:
        The release. The same content has the same name on every controller.
    """
    if application.source["type"] == "package":
        source, lock = _package(application, findings)
    else:
        source = read_source(application.source, application.name, cache, findings)
        lock = read_lock(application.lock, source.files, PREFIX, source.read, findings) if source else None
    about = Bundle(
        versions=lock.versions([*LIBRARIES, RESULTS_LIBRARY]) if lock else {},
        requires_python=_requires_python(source, lock),
    )
    if lock:
        check_libraries(about.versions, application.lock.requirements, findings)
    own = _own_files(application, findings)
    if source:
        _check_directory(application, source, findings)
    if source is None or lock is None or findings.errors:
        return about
    text = lock.wheels_text.encode()
    kit = _kit(package, application.autoconfigure)
    url = application.source.get("url") or ""
    origin = Origin(application.indexes, url, access_of(application.source), builders, cache)
    sources = fetch_sources(lock, origin, findings)
    if findings.errors:
        return about
    entries = [*source.files, *own, *kit, Entry("requirements.lock", text), *sources]
    install = source.project.installs if application.install == "auto" else bool(application.install)
    release = release_id(
        source.label, entries, " ".join([application.lock.python, str(install), *lock.local])
    )
    packed = cache / "releases" / f"{release}.tar.gz"
    fresh = not packed.is_file()
    if fresh:
        wheels = [_built(application, source, findings)] if install else []
        wheels += [_local(path, source, findings) for path in lock.local]
        if findings.errors:
            return about
        archive([*entries, *filter(None, wheels)], packed)
    copy = cache / "locks" / f"{_short_hash(text)}.lock"
    copy.parent.mkdir(parents=True, exist_ok=True)
    disk.write(copy, text, shared=True)
    left_out = source.left_out if fresh else ()
    return replace(about, release=release, archive=packed, lock=copy, left_out=left_out)


def _check_directory(application: Application, source: Source, findings: Findings) -> None:
    """Find a working directory that the source does not have."""
    own = application.working_directory
    place = f"{PurePosixPath(PREFIX, own)}/"
    if own and not own.startswith("/") and not any(entry.path.startswith(place) for entry in source.files):
        reason = "the source has no such directory"
        findings.add(
            "app/bad-path", "fleet_app.working_directory", own, reason, "name one of its directories"
        )


def _own_files(application: Application, findings: Findings) -> list[Entry]:
    """Return the files that the site adds to the release."""
    entries = []
    for path, file in application.files.items():
        try:
            data = Path(file["source"]).read_bytes() if "source" in file else content(file)
        except OSError as error:
            findings.add("app/file-content", f"fleet_app.files.{path}.source", file["source"], error.strerror)
            continue
        except (KeyError, ValueError):
            # The model's own check has found what is wrong with it.
            continue
        if data.startswith(b"$ANSIBLE_VAULT;"):
            reason = "it is encrypted, and everybody on a host may read a release"
            findings.add("app/file-content", f"fleet_app.files.{path}", "(not shown)", reason)
        entries.append(Entry(f"{FILES}/{path}", data))
    return entries


def _requires_python(source: Source | None, lock: Lock | None) -> str:
    """Return the specifier of Pythons that fit both the project and its lock."""
    both = (source.project.requires_python if source else "", lock.requires_python if lock else "")
    return ",".join(dict.fromkeys(filter(None, both)))


def _kit(package: Path, autoconfigure: str) -> list[Entry]:
    """Return the kit's part of a release: its packages, and what tells them of the application."""
    hook = "celery_fleet_autoconfigure"
    entries = [
        *from_directory(package, f"{KIT}/{package.name}"),
        *from_directory(package.with_name(hook), f"{KIT}/{hook}"),
    ]
    if autoconfigure:
        # Of another name than the package's own metadata, which the application's lock may bring.
        metadata = {
            "METADATA": "Metadata-Version: 2.1\nName: celery-fleet-release\nVersion: 0\n",
            "entry_points.txt": (
                f"[kombu.serializers]\ncelery_fleet = {hook}:SERIALIZER\n\n"
                f"[celery_fleet.autoconfigure]\napp = {autoconfigure}\n"
            ),
        }
        place = f"{KIT}/celery_fleet_release-0.dist-info"
        entries += [Entry(f"{place}/{name}", text.encode()) for name, text in metadata.items()]
    return entries


def _package(application: Application, findings: Findings) -> tuple[Source | None, Lock | None]:
    """Return the wheel, or the version of a package, and the lock beside it."""
    requirement, name = application.source["requirement"], application.lock.requirements
    wheel = Path(requirement) if requirement.endswith(".whl") else None
    if wheel and not wheel.is_file():
        reason = "there is no such wheel on the controller"
        findings.add("source/missing", "fleet_app.source.requirement", requirement, reason)
    if not Path(name).is_absolute():
        reason = "a package has no source in which it could lie: give its path on the controller"
        findings.add("lock/missing", "fleet_app.requirements", name, reason)
        return None, None
    lock = read_lock(application.lock, [], PREFIX, lambda _: None, findings)
    if lock and wheel and wheel.is_file():
        entry = Entry(f"package/{wheel.name}", wheel.read_bytes())
        project = Project(wheel.name, wheel_requires(wheel))
        return Source(wheel.name.split("-")[1], [entry], lambda _: None, project), lock
    if lock is None or wheel:
        return None, lock
    version = lock.version_of(requirement)
    if version is None:
        reason = f"the lock does not pin it: {name}"
        findings.add("lock/other-package", "fleet_app.source.requirement", requirement, reason)
        return None, lock
    return Source(version, [], lambda _: None), lock


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


def _local(path: str, source: Source, findings: Findings) -> Entry | None:
    """Return the wheel of a project that the lock names by its path in the source, or that is there."""
    place = f"{PREFIX}/{path}"
    found = next((entry for entry in source.files if entry.path == place), None)
    if found and path.endswith(".whl"):
        return replace(found, path=f"{LOCAL}/{PurePosixPath(path).name}")
    files = [entry for entry in source.files if entry.path.startswith(f"{place}/")]
    try:
        wheel = build_wheel(files, place, source.version)
    except NotBuiltError as error:
        findings.add("lock/path", "fleet_app.requirements", path, str(error))
        return None
    return replace(wheel, path=f"{LOCAL}/{PurePosixPath(wheel.path).name}")


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
