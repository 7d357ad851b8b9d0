"""What git knows of a checkout on the controller, without running what its configuration names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# Where git looks for a repository instead of in the directory that it is given; set in hooks, for example.
_PLACES: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
# A checkout may belong to another user of the controller; its configuration must run nothing.
_SAFE: Final = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
_GITLINK: Final = "160000"


class GitError(Exception):
    """A command of git failed; the message is what it printed."""


def git(
    *arguments: str,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> bytes:
    """Run git, and return what it prints.

    Args:
        arguments: Command and arguments.
        directory: Where it runs.
        environment: Added to the environment.
        given: Its standard input.

    Raises:
        GitError: It failed, or the controller has no git.
    """
    known = {name: value for name, value in os.environ.items() if name not in _PLACES}
    settings = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            ["git", *_SAFE, *arguments],  # noqa: S607 - the one on the path
            check=False,
            capture_output=True,
            cwd=directory,
            env=known | settings,
            input=given,
        )
    except FileNotFoundError as error:
        raise GitError("the controller has no git") from error
    if process.returncode != 0:
        raise GitError(process.stderr.decode(errors="replace").strip())
    return process.stdout


def is_checkout(root: Path) -> bool:
    """Return whether git knows a directory and does not ignore it."""
    try:
        if git("rev-parse", "--is-inside-work-tree", directory=root).strip() != b"true":
            return False
    except GitError:
        return False
    try:
        git("check-ignore", "--quiet", ".", directory=root)
    except GitError:
        return True
    return False


@dataclass
class Listing:
    """The files of a checkout, relative to a directory in it.

    Attributes:
        tracked: Files that git tracks and that are there.
        untracked: Files that it neither tracks nor ignores.
        ignored: What it ignores; directories end with a slash.
        absent_submodules: Submodules that are not checked out.
    """

    tracked: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    absent_submodules: list[str] = field(default_factory=list)


def listing(root: Path) -> Listing:
    """List the files of a checkout and of its submodules.

    Args:
        root: A directory in it.

    Raises:
        GitError: git failed.
    """

    def listed(*arguments: str) -> list[str]:
        text = git("ls-files", "-z", *arguments, directory=root).decode("utf-8", "surrogateescape")
        return [path for path in text.split("\0") if path]

    found = Listing()
    for line in listed("--stage"):
        about, _, path = line.partition("\t")
        if not about.startswith(_GITLINK):
            if (root / path).is_symlink() or (root / path).exists():
                found.tracked.append(path)
        elif (root / path / ".git").exists():
            inner = listing(root / path)
            found.tracked += [f"{path}/{name}" for name in inner.tracked]
            found.untracked += [f"{path}/{name}" for name in inner.untracked]
            found.ignored += [f"{path}/{name}" for name in inner.ignored]
            found.absent_submodules += [f"{path}/{name}" for name in inner.absent_submodules]
        else:
            found.absent_submodules.append(path)
    found.untracked += listed("--others", "--exclude-standard")
    found.ignored += listed("--others", "--ignored", "--exclude-standard", "--directory")
    # A repository in it that is no submodule is listed as a directory.
    nested = [path for path in found.untracked if path.endswith("/")]
    found.untracked = [path for path in found.untracked if not path.endswith("/")]
    found.ignored += nested
    return found


def described(root: Path) -> str:
    """Return how git names the revision of a checkout, such as ``v1.4-3-gabcdef0``; empty without tags."""
    try:
        return git("describe", "--tags", "--match=[v0-9]*", directory=root).decode().strip()
    except GitError:
        return ""
