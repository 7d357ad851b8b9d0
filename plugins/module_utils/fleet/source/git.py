"""The files of one revision of a git repository."""

from __future__ import annotations

import io
import re
import stat
import subprocess
import tarfile
from pathlib import Path

from ..release import Entry, ReleaseError
from .tree import checked


def _git(*arguments: str, mirror: Path | None = None) -> bytes:
    place = [] if mirror is None else [f"--git-dir={mirror}"]
    try:
        process = subprocess.run(["git", *place, *arguments], check=False, capture_output=True)  # noqa: S603, S607 - no shell
    except FileNotFoundError as error:
        raise ReleaseError("fleet_app.source is a git repository, but the controller has no git") from error
    if process.returncode != 0:
        raise ReleaseError(f"git {arguments[0]}: {process.stderr.decode(errors='replace').strip()}")
    return process.stdout


def from_git(url: str, version: str, mirror: Path, prefix: str) -> tuple[list[Entry], str]:
    """Read one revision of a git repository, through a mirror that is kept for the next time.

    Args:
        url: What `git clone` is given.
        version: A tag, a branch or a commit.
        mirror: Directory of the mirror; made if need be.
        prefix: Directory of the release that the files go to.

    Returns:
        The files, and the commit.

    Raises:
        ReleaseError: The repository can't be read, or has no such revision.
    """
    if not mirror.is_dir():
        mirror.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", "--quiet", "--mirror", "--", url, str(mirror))
    elif not re.fullmatch(r"[0-9a-f]{40}", version):
        _git("fetch", "--quiet", "--prune", mirror=mirror)
    resolve = ["rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}"]
    try:
        commit = _git(*resolve, mirror=mirror).decode().strip()
    except ReleaseError:
        _git("fetch", "--quiet", "--prune", mirror=mirror)
        commit = _git(*resolve, mirror=mirror).decode().strip()
    entries: list[Entry] = []
    packed = io.BytesIO(_git("archive", "--format=tar", commit, mirror=mirror))
    with tarfile.open(fileobj=packed) as tree:
        for member in tree:
            name, executable = f"{prefix}/{member.name}", bool(member.mode & stat.S_IXUSR)
            content = tree.extractfile(member) if member.isfile() else None
            if member.issym():
                entries.append(checked(Entry(name, b"", link=member.linkname)))
            elif content is not None:
                entries.append(Entry(name, content.read(), executable))
    return sorted(entries, key=lambda entry: entry.path), commit
