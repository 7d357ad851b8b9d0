"""One revision of a git repository with its submodules, through a mirror in the controller's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import posixpath
import re
import shlex
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..release import Entry
from .repository import GitError, git

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# Seconds until a host that does not answer is given up.
_CONNECT_S: Final = 20
_LFS: Final = b"version https://git-lfs.github.com/spec/v1\n"
_EVERYTHING: Final = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True)
class Access:
    """How a private repository is reached.

    Attributes:
        key: Private key for SSH, as text; empty for that of the controller's user.
        known_hosts: Lines of ``known_hosts``; empty for the file of the controller's user.
        username: User for HTTPS.
        password: Password or token for HTTPS; empty if none is needed.
    """

    key: str = ""
    known_hosts: str = ""
    username: str = ""
    password: str = ""


@contextlib.contextmanager
def reached(access: Access) -> Iterator[dict[str, str]]:
    """Write the secrets to files that only this user may read, and yield git's environment."""
    with tempfile.TemporaryDirectory(prefix="celery-fleet-git-") as name:
        place = Path(name)

        def private(file: str, text: str, mode: int = 0o600) -> Path:
            with os.fdopen(os.open(place / file, os.O_WRONLY | os.O_CREAT, mode), "w") as content:
                content.write(text if text.endswith("\n") else f"{text}\n")
            return place / file

        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        ssh += ["-o", f"ConnectTimeout={_CONNECT_S}"]
        if access.key:
            ssh += ["-i", str(private("key", access.key)), "-o", "IdentitiesOnly=yes", "-F", "none"]
        if access.known_hosts:
            ssh += ["-o", f"UserKnownHostsFile={private('known_hosts', access.known_hosts)}"]
            ssh += ["-o", "GlobalKnownHostsFile=none"]
        environment = {"GIT_SSH_COMMAND": shlex.join(ssh), "GIT_SSH_VARIANT": "ssh"}
        if access.password:
            for file, text in (("username", access.username or "git"), ("password", access.password)):
                private(file, text)
            asked = 'case "$1" in Username*) f=username;; *) f=password;; esac; exec cat "$(dirname "$0")/$f"'
            environment["GIT_ASKPASS"] = str(private("askpass", f"#!/bin/sh\n{asked}", 0o700))
        yield environment


@dataclass(frozen=True)
class Revision:
    """One revision of a repository.

    Attributes:
        mirror: The mirror that holds it.
        commit: Its commit.
        environment: Of git.
        url: Where the repository is.
    """

    mirror: Path
    commit: str
    environment: Mapping[str, str]
    url: str

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; none if there is no such file."""
        try:
            return self._git("cat-file", "blob", f"{self.commit}:{path}")
        except GitError:
            return None

    def has_directory(self, path: str) -> bool:
        """Return whether there is a directory of this name."""
        try:
            return self._git("cat-file", "-t", f"{self.commit}:{path}").strip() == b"tree"
        except GitError:
            return False

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        return git(
            f"--git-dir={self.mirror}",
            *arguments,
            directory=self.mirror,
            environment=self.environment,
            given=given,
        )

    def files(self, below: str, prefix: str) -> list[Entry]:
        """Return the files below a directory, those of submodules too.

        Args:
            below: The directory; empty for all.
            prefix: Directory of the release that they go to.

        Raises:
            GitError: A submodule, or a file that git LFS keeps, cannot be read.
        """
        found: list[Entry] = []
        chosen = ["--", below] if below else []
        packed = io.BytesIO(self._git("archive", "--format=tar", self.commit, *chosen))
        with tarfile.open(fileobj=packed) as tree:
            for member in tree:
                name = f"{prefix}/{posixpath.relpath(member.name, below or '.')}"
                content = tree.extractfile(member) if member.isfile() else None
                if member.issym():
                    found.append(Entry(name, b"", link=member.linkname))
                elif content is not None:
                    data = self._large(content.read())
                    found.append(Entry(name, data, bool(member.mode & stat.S_IXUSR)))
        for path, module in self._submodules(below):
            found += module.files("", f"{prefix}/{posixpath.relpath(path, below or '.')}")
        return sorted(found, key=lambda entry: entry.path)

    def _large(self, data: bytes) -> bytes:
        """Return a file that git LFS keeps elsewhere, if the controller has git-lfs."""
        if not data.startswith(_LFS):
            return data
        with contextlib.suppress(GitError):
            return self._git("lfs", "smudge", given=data)
        return data

    def _submodules(self, below: str) -> Iterator[tuple[str, Revision]]:
        listed = self._git("ls-tree", "-r", "-z", self.commit, *(["--", below] if below else []))
        links = [line.split("\t", 1) for line in listed.decode().split("\0") if line.startswith("160000 ")]
        if not links:
            return
        places = self._places()
        for about, path in links:
            if path not in places:
                raise GitError(f"submodule {path} is not in .gitmodules")
            url = _resolved(self.url, places[path])
            yield path, fetched(url, about.split()[2], self.mirror.parent, self.environment)

    def _places(self) -> dict[str, str]:
        """Return the addresses of submodules by their paths."""
        listed = self._git("config", "--blob", f"{self.commit}:.gitmodules", "--null", "--list").decode()
        settings = dict(line.split("\n", 1) for line in listed.split("\0") if "\n" in line)
        names = [name.removesuffix(".path") for name in settings if name.endswith(".path")]
        return {settings[f"{name}.path"]: settings.get(f"{name}.url", "") for name in names}


def _resolved(parent: str, url: str) -> str:
    """Return the address of a submodule, which may be relative to that of its repository.

    Raises:
        GitError: It leads to the controller's own files, or would be read as an option.
    """
    if url.startswith(("./", "../")):
        # What stands before the path: a scheme with its host, a host, or nothing.
        [(head, path)] = re.findall(r"\A(\w+://[^/]+/?|[^/:]+:/?|/?)(.*)\Z", parent, re.DOTALL)
        return f"{head}{posixpath.normpath(posixpath.join(path, url))}"
    if not re.match(r"(https?|ssh|git)://|[\w.-]+@[\w.-]+:", url) and not Path(parent).is_absolute():
        raise GitError(f"submodule at {url!r}: only https and ssh are followed")
    return url


@contextlib.contextmanager
def _alone(mirror: Path) -> Iterator[None]:
    """Keep other runs on this controller from changing a mirror, and remove what a killed one left locked."""
    mirror.mkdir(parents=True, exist_ok=True)
    directory = os.open(mirror, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        for stale in (*mirror.glob("*.lock"), *(mirror / "refs").rglob("*.lock")):
            stale.unlink()
        yield
    finally:
        os.close(directory)


def fetched(url: str, version: str, cache: Path, environment: Mapping[str, str]) -> Revision:
    """Fetch one revision, without history where the server permits that.

    Args:
        url: What `git clone` is given.
        version: A tag, a branch or a commit.
        cache: Directory of the mirrors.
        environment: Of git, as ``reached`` gives it.

    Raises:
        GitError: The repository cannot be read, or has no such revision.
    """
    mirror = cache / hashlib.sha256(url.encode()).hexdigest()[:12]
    allowed = {**environment, "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}

    def run(*arguments: str) -> bytes:
        return git(f"--git-dir={mirror}", *arguments, environment=allowed)

    def resolve(name: str) -> str:
        return run("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().strip()

    with _alone(mirror):
        # Also if it is there: a run that was killed has made a part of it. What the mirror has is not fetched
        # again, so a loss of power must not leave empty objects.
        run("init", "--quiet", "--bare")
        run("config", "core.fsync", "all")
        run("config", "remote.origin.url", url)
        if COMMIT.fullmatch(version):
            with contextlib.suppress(GitError):
                return Revision(mirror, resolve(version), allowed, url)
        slow = ("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60")
        try:
            run(*slow, "fetch", "--quiet", "--no-tags", "--depth=1", "--", url, version)
            commit = resolve("FETCH_HEAD")
        except GitError:
            whole = ("--unshallow",) if (mirror / "shallow").exists() else ()
            run(*slow, "fetch", "--quiet", "--prune", *whole, "--", url, *_EVERYTHING)
            commit = resolve(version)
        return Revision(mirror, commit, allowed, url)
