"""The application's source as a site names it: its files, its project, and what is wrong with them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..findings import Findings
from ..release import Entry
from .git import COMMIT, Access, fetched, reached
from .project import Project, read_project, version_of
from .repository import GitError, described
from .tree import entries, list_tree, matches, some

# Where the application's files lie in a release.
PREFIX: Final = "src"
LARGE_MIB: Final = 300

_LFS: Final = b"version https://git-lfs.github.com/spec/v1\n"
_KEY: Final = re.compile(
    rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n\s*[A-Za-z0-9+/=:,\- ]{16}", re.M
)
_KEY_FILE_BYTES: Final = 256 * 1024
_SECRET_NAMES: Final = re.compile(
    r"(\.env(\.(?!example|sample|template|dist)\w+)?|\.netrc|\.pgpass|\.pypirc|id_[a-z0-9]+)"
)
# What git and SSH say, and what helps.
_ANSWERS: Final = {
    "host key verification failed": "compare its key, and give the line in fleet_app.source.known_hosts",
    "permission denied (publickey": "give a deploy key in fleet_app.source.key, from ansible-vault",
    "terminal prompts disabled": "give a token in fleet_app.source.password, from ansible-vault",
    "authentication failed": "renew fleet_app.source.password, from ansible-vault",
    "has no git": "install git on the controller",
    "single revision": "set fleet_app.source.version to a revision that the repository has",
    "couldn't find remote ref": "set fleet_app.source.version to a revision that the repository has",
}


@dataclass(frozen=True)
class Source:
    """The application's source.

    Attributes:
        label: What a person knows this revision by.
        files: Its files, as they lie in the release.
        read: Returns a file by its path from the application's directory, which may begin with ``..``; none
            if there is no such file in the source.
        project: What it says of itself.
        version: Its version, for projects that take it from git.
        left_out: Files of the tree that are left out and may be missed.
    """

    label: str
    files: list[Entry]
    read: Callable[[str], bytes | None]
    project: Project = field(default_factory=Project)
    version: str = "0"
    left_out: tuple[str, ...] = ()


def read_source(source: Mapping[str, Any], name: str, cache: Path, findings: Findings) -> Source | None:
    """Read a directory or a revision of a repository.

    Args:
        source: ``fleet_app.source`` of type ``directory`` or ``git``.
        name: The application's name, which labels what has no version.
        cache: Directory on the controller for mirrors.
        findings: Receives what is wrong with it.

    Returns:
        The source; none if it cannot be read.
    """
    if source["type"] == "git":
        found = _revision(source, cache, findings)
    else:
        found = _directory(source, name, findings)
    if found is not None:
        _check(found, source, findings)
    return found


def _below(source: Mapping[str, Any]) -> str:
    below = posixpath.normpath(source.get("subdirectory") or ".")
    return "" if below == "." else below


def _directory(source: Mapping[str, Any], name: str, findings: Findings) -> Source | None:
    whole, below = Path(source["path"]), _below(source)
    root = whole / below
    if not whole.is_dir():
        reason = "is a file" if whole.exists() else "there is no such directory on the controller"
        findings.add("source/missing", "fleet_app.source.path", str(whole), reason)
        return None
    if not root.is_dir():
        reason = f"there is no such directory in {whole}"
        findings.add("source/missing", "fleet_app.source.subdirectory", below, reason)
        return None
    try:
        tree = list_tree(root, source.get("include") or (), source.get("exclude") or (), findings)
    except GitError as error:
        findings.add("source/unreadable", "fleet_app.source.path", str(whole), f"git fails there: {error}")
        return None

    def read(path: str) -> bytes | None:
        inside = posixpath.normpath(posixpath.join(below, path))
        file = whole / inside
        return None if inside.startswith(("../", "/")) or not file.is_file() else file.read_bytes()

    return Source(
        name,
        entries(tree, PREFIX, findings),
        read,
        read_project(read),
        version_of(described(root)),
        tuple(tree.named),
    )


def access_of(source: Mapping[str, Any]) -> Access:
    """Return how a source's repository, and those that its lock names, are reached."""
    given = (source.get(name) or "" for name in ("key", "known_hosts", "username", "password"))
    return Access(*given)


def _revision(source: Mapping[str, Any], cache: Path, findings: Findings) -> Source | None:
    url, version, below = source["url"], str(source["version"]), _below(source)
    try:
        with reached(access_of(source)) as environment:
            revision = fetched(url, version, cache / "git", environment)
            if below and not revision.has_directory(below):
                reason = f"there is no such directory in {url} at {version}"
                findings.add("source/missing", "fleet_app.source.subdirectory", below, reason)
                return None
            files = revision.files(below, PREFIX)
    except GitError as error:
        reason, remedy = _explained(str(error))
        findings.add("source/unreachable", "fleet_app.source.url", f"{url} at {version}", reason, remedy)
        return None

    def read(path: str) -> bytes | None:
        inside = posixpath.normpath(posixpath.join(below, path))
        return None if inside.startswith(("../", "/")) else revision.read(inside)

    exclude = [f"{PREFIX}/{pattern}" for pattern in source.get("exclude") or ()]
    label = revision.commit[:12] if COMMIT.fullmatch(version) else version
    return Source(
        label,
        [entry for entry in files if not matches(entry.path, exclude)],
        read,
        read_project(read),
        version_of(version, revision.commit),
    )


def _explained(printed: str) -> tuple[str, str | None]:
    """Return what matters of what git and SSH printed, and what helps against it."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for line in lines:
        for answer, remedy in _ANSWERS.items():
            if answer in line.lower():
                return line, remedy
    fatal = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))]
    return " ".join((fatal or lines)[:3]), None


def _check(source: Source, given: Mapping[str, Any], findings: Findings) -> None:
    """Find files that cannot be deployed, or should not be."""
    variable = "fleet_app.source.path" if given["type"] == "directory" else "fleet_app.source.url"
    place = str(given.get("path") or given.get("url"))

    def tell(id: str, paths: Iterable[str]) -> None:
        names = [path.removeprefix(f"{PREFIX}/") for path in paths]
        if names:
            findings.add(id, variable, some(names))

    if not source.files:
        findings.add("source/missing", variable, place, "it holds no file")
    tell(
        "source/outside-link",
        [f"{e.path} -> {e.link}" for e in source.files if e.link and not _inside(e.path, e.link)],
    )
    tell("source/lfs-pointer", [e.path for e in source.files if e.data.startswith(_LFS)])
    tell("source/private-key", [e.path for e in source.files if _holds_key(e)])
    tell(
        "source/secret-file",
        [e.path for e in source.files if _SECRET_NAMES.fullmatch(Path(e.path).name) and not _holds_key(e)],
    )
    size = sum(len(entry.data) for entry in source.files) // 2**20
    if size > LARGE_MIB:
        largest = sorted(source.files, key=lambda entry: -len(entry.data))[:3]
        named = ", ".join(
            f"{e.path.removeprefix(f'{PREFIX}/')} ({len(e.data) // 2**20} MiB)" for e in largest
        )
        findings.add("source/large", variable, f"{size} MiB", f"its largest files are {named}")
    if source.project.fault:
        findings.add("source/project", variable, source.project.file, source.project.fault)


def _inside(path: str, link: str) -> bool:
    """Return whether a relative link stays below the first directory of its path."""
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return not link.startswith("/") and resolved.startswith(f"{PREFIX}/")


def _holds_key(entry: Entry) -> bool:
    return (
        len(entry.data) <= _KEY_FILE_BYTES and b"PRIVATE KEY" in entry.data and bool(_KEY.search(entry.data))
    )
