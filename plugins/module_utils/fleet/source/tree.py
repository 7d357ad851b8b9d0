"""The files of a tree on the controller: which of them go to the hosts, and which are left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from ..findings import Findings
from ..release import Entry
from . import repository

# What tools write and can write again; nobody needs to be told that it is left out.
_CACHES: Final = (
    *(".git", ".hg", ".svn", "__pycache__", "*.py[co]", "*.egg-info", ".eggs", ".DS_Store", "*.sw[po]"),
    *(".tox", ".nox", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".coverage", "htmlcov"),
)
# What is left out of a tree unless git tracks it: installed packages, and what holds secrets by its name.
_LOCAL: Final = (
    "node_modules",
    ".env",
    ".env.*",
    ".ssh",
    ".secrets",
    ".netrc",
    ".pgpass",
    ".idea",
    ".vscode",
)
_EXAMPLES: Final = (".env.example", ".env.sample", ".env.template", ".env.dist")
# Names are told up to this number.
_NAMED: Final = 12


@dataclass
class Tree:
    """A tree of files.

    Attributes:
        root: Its directory.
        paths: The files that belong to the application, relative to the root.
        left_out: What does not, as a person would name it: directories end with a slash.
    """

    root: Path
    paths: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def named(self) -> list[str]:
        """What is left out and may be missed."""
        return [name for name in self.left_out if not _has_name(name, _CACHES)]


def list_tree(root: Path, include: Sequence[str], exclude: Sequence[str], findings: Findings) -> Tree:
    """Choose the files of a directory that belong to the application.

    In a checkout these are the files that git does not ignore, with those of its submodules.

    Args:
        root: The directory.
        include: Paths or patterns of files that go although git ignores them.
        exclude: Paths or patterns of files that do not go.
        findings: Receives submodules that are not there, and what is included and does not exist.
    """
    tree = Tree(root)
    found = repository.listing(root) if repository.is_checkout(root) else None
    if found is None:
        _walk(tree, root, include)
    else:
        untracked = [path for path in found.untracked if _is_local(root, path) and not matches(path, include)]
        left = [path for path in found.ignored if not matches(path.rstrip("/"), include)]
        tree.paths = sorted({*found.tracked, *found.untracked} - {*untracked})
        tree.left_out = sorted({*untracked, *left})
        for path in found.absent_submodules:
            findings.add("source/submodule", "fleet_app.source.path", path)
    for pattern in include:
        chosen = list(_included(root, pattern))
        tree.paths = sorted({*tree.paths, *chosen})
        if not chosen:
            reason = f"nothing in {root} is called so: was it not built?"
            findings.add("source/missing", "fleet_app.source.include", pattern, reason)
    tree.left_out += sorted(path for path in tree.paths if matches(path, exclude))
    tree.paths = [path for path in tree.paths if not matches(path, exclude)]
    return tree


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a path is, lies below, or matches one of some patterns."""
    return any(
        path == pattern.rstrip("/")
        or path.startswith(f"{pattern.rstrip('/')}/")
        or fnmatchcase(path, pattern)
        for pattern in patterns
    )


def _has_name(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a part of a path has one of some names."""
    return any(fnmatchcase(part, pattern) for part in PurePosixPath(path).parts for pattern in patterns)


def _is_local(root: Path, path: str) -> bool:
    if _has_name(path, _CACHES):
        return True
    if PurePosixPath(path).name not in _EXAMPLES and _has_name(path, _LOCAL):
        return True
    above = [root / part for part in PurePosixPath(path).parents if part.parts]
    return any((directory / "pyvenv.cfg").is_file() for directory in (root / path, *above))


def _walk(tree: Tree, root: Path, include: Sequence[str]) -> None:
    """Fill a tree with the files of a directory that is no checkout."""
    for directory, directories, files in os.walk(root):
        relative = Path(directory).relative_to(root)
        links = [name for name in directories if (Path(directory) / name).is_symlink()]
        for name in sorted({*files, *links}):
            path = (relative / name).as_posix()
            keep = matches(path, include) or not _is_local(root, path)
            (tree.paths if keep else tree.left_out).append(path)
        for name in [name for name in directories if name not in links]:
            path = (relative / name).as_posix()
            if _is_local(root, path) and not matches(path, include):
                directories.remove(name)
                tree.left_out.append(f"{path}/")
        directories[:] = sorted(set(directories) - set(links))
    tree.paths.sort()
    tree.left_out.sort()


def _included(root: Path, pattern: str) -> Iterator[str]:
    for found in root.glob(pattern.rstrip("/")):
        inside = found.rglob("*") if found.is_dir() and not found.is_symlink() else (found,)
        for path in inside:
            if path.is_symlink() or path.is_file():
                yield path.relative_to(root).as_posix()


def entries(tree: Tree, prefix: str, findings: Findings | None = None) -> list[Entry]:
    """Read the files of a tree.

    Args:
        tree: The tree.
        prefix: Directory of the release that they go to.
        findings: Receives files that the controller's user may not read.
    """
    found: list[Entry] = []
    for relative in tree.paths:
        path, name = tree.root / relative, f"{prefix}/{relative}"
        if findings is not None and not relative.isprintable():
            reason = "its name holds control characters, or is not UTF-8"
            findings.add("source/unreadable", "fleet_app.source.path", relative, reason)
            continue
        try:
            if path.is_symlink():
                found.append(Entry(name, b"", link=str(path.readlink())))
            elif path.is_file():
                found.append(Entry(name, path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR)))
        except PermissionError as error:
            if findings is None:
                raise
            reason = f"the controller's user may not read it: {error.strerror}"
            findings.add("source/unreadable", "fleet_app.source.path", relative, reason)
    return found


def from_directory(root: Path, prefix: str) -> list[Entry]:
    """Read all files of a directory but what tools left in it.

    Args:
        root: The directory.
        prefix: Directory of the release that it goes to.
    """
    tree = Tree(root)
    _walk(tree, root, ())
    return entries(tree, prefix)


def some(names: Sequence[str]) -> str:
    """Name some files for a person, and count the rest."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
