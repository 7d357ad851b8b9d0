"""Sources of packages without a wheel: the controller fetches them, hosts build them without a network."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specification
from packaging.utils import canonicalize_name

from ..findings import Findings
from ..host import disk
from ..host.sandbox import BUILDERS, MANIFEST, SOURCES
from ..release import Entry
from ..source.git import Access, fetched, reached
from ..source.project import version_of
from ..source.repository import GitError
from .requirement import Requirement, without_credentials
from .requirements_file import UnreadableError, read_requirements
from .types import VARIABLE, Lock

_TIMEOUT_S: Final = "30"


@dataclass(frozen=True)
class Origin:
    """Where the controller finds what a lock names.

    Attributes:
        indexes: The indexes, as ``fleet_app.indexes``; none for those of the controller's pip.
        source: Address of the application's repository; empty if it comes from elsewhere.
        access: How it is reached, and others on the same server; nobody else is told its password.
        builders: The lock of what builds packages.
        cache: Directory on the controller.
    """

    indexes: Sequence[Mapping[str, Any]]
    source: str
    access: Access
    builders: Path
    cache: Path


def fetch_sources(lock: Lock, origin: Origin, findings: Findings) -> list[Entry]:
    """Fetch what hosts build, and what builds it.

    Args:
        lock: The lock.
        origin: Where it is found.
        findings: Receives what cannot be fetched.

    Returns:
        Files of the release: sources, wheels of what builds them, and a manifest; none if nothing is built.
    """
    wanted = [requirement for requirement in lock.requirements if requirement.name in lock.sdists]
    if not wanted:
        return []
    entries: list[Entry] = []
    manifest: list[dict[str, str]] = []
    builders = read_requirements(origin.builders, origin.builders.parent).requirements
    present = {builder.name: builder.version for builder in builders}
    try:
        with _index(origin) as index:
            for requirement in wanted:
                files, version = _source(requirement, index, origin)
                for missing in _missing(files, present):
                    findings.add(
                        "lock/unbuildable", VARIABLE, requirement.label, f"its build requires {missing}"
                    )
                manifest.append(
                    {
                        "name": requirement.name,
                        "path": f"{SOURCES}/{requirement.name}-{version}",
                        "marker": requirement.marker,
                        "version": version,
                    }
                )
                entries += files
            for builder in builders:
                # Hosts may have any architecture.
                file, content = index.file(builder, "-none-any.whl")
                entries.append(Entry(f"{BUILDERS}/{file}", content))
    except UnreadableError as error:
        findings.add("lock/unfetched", VARIABLE, ", ".join(r.label for r in wanted), str(error))
        return []
    return [*entries, Entry(MANIFEST, json.dumps(manifest, indent=1).encode())]


def _source(requirement: Requirement, index: _Index, origin: Origin) -> tuple[list[Entry], str]:
    """Return the files of a source and its version.

    Raises:
        UnreadableError: It cannot be fetched.
    """
    place = requirement.repository
    if place is None:
        file, content = index.file(requirement, ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz")
        version = requirement.version or hashlib.sha256(content).hexdigest()[:12]
        return [Entry(f"{SOURCES}/{requirement.name}-{version}/{file}", content)], version
    if place.kind != "git":
        raise UnreadableError(f"{requirement.name} lies in {place.kind}, and only git is supported")
    version = version_of("", place.revision)
    prefix = f"{SOURCES}/{requirement.name}-{version}/{requirement.name}"
    try:
        own = server_of(place.url) == server_of(origin.source)
        with reached(origin.access if own else Access()) as environment:
            revision = fetched(place.url, place.revision, origin.cache / "git", environment)
            return revision.files(place.subdirectory, prefix), version
    except GitError as error:
        raise UnreadableError(f"{place.url} at {place.revision[:12]}: {error}") from error


def _missing(files: Sequence[Entry], present: Mapping[str, str]) -> list[str]:
    """Return what a source needs for its build and no builder is; a marker is for the host to evaluate."""
    missing = []
    for text in _build_requirements(files):
        try:
            needed = Specification(text)
        except InvalidRequirement:
            continue
        version = present.get(canonicalize_name(needed.name))
        if not needed.marker and (
            version is None or not needed.specifier.contains(version, prereleases=True)
        ):
            missing.append(text)
    return missing


def _build_requirements(files: Sequence[Entry]) -> list[str]:
    """Return what a source says its build requires; nothing if it is unreadable, as the build will say."""
    try:
        described = _pyproject(files)
        system = tomllib.loads(described.decode()).get("build-system", {}) if described else {}
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError):
        return []
    requires = system.get("requires", []) if isinstance(system, dict) else []
    return [text for text in requires if isinstance(text, str)] if isinstance(requires, list) else []


def _pyproject(files: Sequence[Entry]) -> bytes | None:
    """Return the `pyproject.toml` of a source, which is an archive or the files of a repository."""
    suffix = re.compile(r"[^/]+/pyproject\.toml")
    if len(files) > 1 or not files[0].path.endswith((".zip", ".tgz", ".gz", ".bz2", ".xz")):
        # sdists/<name>-<version>/<name>/pyproject.toml
        return next((file.data for file in files if suffix.fullmatch(file.path.split("/", 2)[-1])), None)
    content = io.BytesIO(files[0].data)
    if files[0].path.endswith(".zip"):
        with zipfile.ZipFile(content) as zipped:
            return next((zipped.read(name) for name in zipped.namelist() if suffix.fullmatch(name)), None)
    with tarfile.open(fileobj=content) as archive:
        for member in archive:
            if member.isfile() and suffix.fullmatch(member.name):
                read = archive.extractfile(member)
                return read.read() if read else None
    return None


def server_of(address: str) -> str:
    """Return the server in the address of a repository, which may be written as for scp; empty for a path."""
    found = re.match(r"(?:[a-z+]+://)(?:[^@/]*@)?([^:/]*)|(?:[^@/:]+@)?([^:/]+):", address)
    return (found[1] or found[2] or "") if found else ""


def with_login(index: Mapping[str, Any]) -> str:
    """Return the address of an index with its user and password."""
    parts = urlsplit(index["url"])
    if not index.get("username") and not index.get("password"):
        return str(index["url"])
    user, password = (quote(index.get(part) or "", safe="") for part in ("username", "password"))
    login = f"{user}:{password}@"
    return str(parts._replace(netloc=login + parts.netloc).geturl())


class _Index:
    """The indexes, as pip asks them."""

    def __init__(self, session: Any, finder: Any, cache: Path) -> None:  # noqa: ANN401 - pip's own types
        self._session, self._finder, self._cache = session, finder, cache

    def file(self, requirement: Requirement, *suffixes: str) -> tuple[str, bytes]:
        """Return the name and the content of a file of a requirement.

        Raises:
            UnreadableError: There is none of these suffixes with a hash of the lock.
        """
        digests = {digest.partition(":")[2] for digest in requirement.hashes if digest.startswith("sha256:")}
        for digest in digests:
            for stored in (self._cache / digest).glob("[!.]*"):
                if stored.name.endswith(suffixes):
                    return stored.name, stored.read_bytes()
        for file, url in self._links(requirement):
            if file.endswith(suffixes):
                content = self._download(url)
                found = hashlib.sha256(content).hexdigest()
                if found in digests or not digests:
                    self._keep(found, file, content)
                    return file, content
        raise UnreadableError(
            f"no index has a file of {requirement.source} with a hash of the lock that ends with "
            f"{' or '.join(suffixes[:2])}"
        )

    def _links(self, requirement: Requirement) -> Iterator[tuple[str, str]]:
        if requirement.url:
            yield urlsplit(requirement.url).path.rpartition("/")[2], requirement.url
            return
        for candidate in self._finder.find_all_candidates(requirement.name):
            if str(candidate.version) == requirement.version:
                yield candidate.link.filename, candidate.link.url_without_fragment

    def _download(self, url: str) -> bytes:
        answer = self._session.get(url, headers={"Accept-Encoding": "identity"})
        if answer.status_code != 200:
            raise UnreadableError(f"{without_credentials(url)} answers with {answer.status_code}")
        return bytes(answer.content)

    def _keep(self, digest: str, file: str, content: bytes) -> None:
        place = self._cache / digest
        place.mkdir(parents=True, exist_ok=True)
        disk.write(place / file, content, shared=True)


@contextmanager
def _index(origin: Origin) -> Iterator[_Index]:
    """Ask indexes as pip does: with its configuration, its certificates and its reading of them.

    Raises:
        UnreadableError: An index cannot be reached.
    """
    from pip._internal.commands import create_command
    from pip._internal.exceptions import PipError
    from pip._vendor.requests.exceptions import RequestException

    logging.getLogger("pip").setLevel(logging.CRITICAL)
    arguments = [
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        f"--timeout={_TIMEOUT_S}",
    ]
    for option, index in zip(_options(), origin.indexes, strict=False):
        arguments.append(f"{option}={with_login(index)}")
    command: Any = create_command("download")
    try:
        with command.main_context():
            options, _ = command.parse_args([*arguments, "celery"])
            session = command.get_default_session(options)
            finder = command._build_package_finder(options, session, ignore_requires_python=True)
            yield _Index(session, finder, origin.cache / SOURCES)
    except (PipError, RequestException) as error:
        raise UnreadableError(without_credentials(str(error))) from error


def _options() -> Iterable[str]:
    yield "--index-url"
    while True:
        yield "--extra-index-url"
