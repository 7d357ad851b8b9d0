"""The files of a tree on the controller."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from ..release import Entry, ReleaseError

# What tools leave in a source tree; none of it is part of the application.
_LEFT_OUT = frozenset(
    [".git", ".hg", ".venv", ".tox", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__"]
)


def _inside(path: str, link: str) -> bool:
    """Return whether the relative link at `path` stays below the first directory of `path`."""
    depth = len(PurePosixPath(path).parent.parts) - 1
    for part in PurePosixPath(link).parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or part == "/":
            return False
    return True


def checked(entry: Entry) -> Entry:
    """Return a file of a release.

    Raises:
        ReleaseError: It is a link that leads out of the source.
    """
    if entry.link is not None and not _inside(entry.path, entry.link):
        raise ReleaseError(
            f"{entry.path} is a link to {entry.link}, outside of the source: put the file itself there"
        )
    return entry


def from_directory(root: Path, prefix: str) -> list[Entry]:
    """Read a tree of files.

    Args:
        root: The tree's directory.
        prefix: Directory of the release that it goes to.

    Raises:
        ReleaseError: There is no such directory, or a link leads out of it.
    """
    if not root.is_dir():
        raise ReleaseError(f"{root} is no directory: set fleet_app.source.path to the source tree")
    entries: list[Entry] = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if _LEFT_OUT.intersection(relative.parts) or path.suffix == ".pyc":
            continue
        name = f"{prefix}/{relative.as_posix()}"
        if path.is_symlink():
            entries.append(checked(Entry(name, b"", link=str(path.readlink()))))
        elif path.is_file():
            entries.append(Entry(name, path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR)))
    return entries
