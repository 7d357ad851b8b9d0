"""One requirement of a lock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from packaging.markers import Marker
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

# What hosts may have. A requirement that applies to none of them is left out.
PYTHONS: Final = tuple(f"3.{minor}" for minor in range(9, 16))
MACHINES: Final = ("x86_64", "aarch64")
_LINUX: Final = re.compile(r"(many)?linux.*_(x86_64|aarch64)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# A user alone is none with SSH, and a token over HTTP.
_USERINFO: Final = re.compile(r"(?:(?<=https://)|(?<=http://))[^/@\s]+@|(?<=://)[^/@\s:]*:[^/@\s]+@")


@dataclass(frozen=True)
class Repository:
    """Where a requirement lies in version control.

    Attributes:
        kind: The system, such as ``git``.
        url: What it is cloned from.
        revision: What is checked out.
        subdirectory: Where the project lies in it; empty if at its top.
    """

    kind: str
    url: str
    revision: str
    subdirectory: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether the revision is a full commit, which cannot move."""
        return _COMMIT.fullmatch(self.revision) is not None


@dataclass(frozen=True)
class Requirement:
    """One requirement of a lock.

    Attributes:
        name: Normalized name of the package.
        version: The version that is pinned; empty if none is, or if it comes from elsewhere.
        marker: Environments to which it applies; empty for all.
        hashes: Such as ``sha256:…``, of each file that may be installed.
        url: Archive from which it is installed instead of an index; empty if from an index.
        repository: Repository from which it is installed.
        path: Directory or archive on the controller from which it is installed; empty if from elsewhere.
        extras: Extras with which it was asked for.
        wheels: Names of the wheels of it that exist; none if the lock does not say.
        where: Where it stands, for a person.
    """

    name: str
    version: str = ""
    marker: str = ""
    hashes: tuple[str, ...] = ()
    url: str = ""
    repository: Repository | None = None
    path: str = ""
    extras: tuple[str, ...] = ()
    wheels: tuple[str, ...] | None = None
    where: str = ""

    @property
    def source(self) -> str:
        """What is installed: a version, or the place that it comes from."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        if self.repository:
            place = f" @ {self.repository.kind}+{self.repository.url}@{self.repository.revision}"
        elif self.url or self.path:
            place = f" @ {self.url or self.path}"
        else:
            place = f"=={self.version}" if self.version else ""
        return f"{self.name}{extras}{place}"

    @property
    def label(self) -> str:
        """The requirement as a person would name it."""
        found = self.repository.revision[:12] if self.repository else self.version
        return f"{self.name} {found}".rstrip() + (f" ({self.where})" if ":" in self.where else "")

    @property
    def line(self) -> str:
        """The requirement as a line for pip and uv."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " ".join([f"{self.source}{marker}", *(f"--hash={digest}" for digest in self.hashes)])

    def applies(self, python: str, machine: str) -> bool:
        """Return whether hosts of a kind need it.

        Args:
            python: Their Python, such as ``3.13``.
            machine: Their architecture, such as ``x86_64``.
        """
        return not self.marker or Marker(self.marker).evaluate(environment(python, machine))

    def applies_somewhere(self) -> bool:
        """Return whether any host can need it."""
        return not self.marker or any(self.applies(*kind) for kind in kinds())

    def must_be_built(self, python: str) -> bool:
        """Return whether hosts have to build it, as far as the lock says.

        Args:
            python: Their Python, such as ``3.13``; empty if it is not known.
        """
        if self.wheels is None or self.path:
            return False
        if python and not any(self.applies(python, machine) for machine in MACHINES):
            return False
        return not any(fits(wheel, python) for wheel in self.wheels)


def fits(wheel: str, python: str) -> bool:
    """Return whether a wheel is for CPython on Linux, and for this version of it if one is known."""
    try:
        tags = parse_wheel_filename(wheel)[3]
    except InvalidWheelFilename:
        return True
    platforms = {tag.platform for tag in tags if tag.platform == "any" or _LINUX.fullmatch(tag.platform)}
    if not python:
        return bool(platforms)
    version = tuple(map(int, python.split(".")))
    known = {*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)}
    return not tags.isdisjoint(known)


def kinds() -> Iterator[tuple[str, str]]:
    """Return the kinds of hosts that there may be: a Python and an architecture."""
    return product(PYTHONS, MACHINES)


def environment(python: str, machine: str) -> dict[str, str | frozenset[str]]:
    """Return what markers are compared with for hosts of a kind."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
        "extras": frozenset(),
        "dependency_groups": frozenset(),
    }


def normalized(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return str(canonicalize_name(name))


def has_credentials(text: str) -> bool:
    """Return whether a text holds an address with a password or token in it."""
    return _USERINFO.search(text) is not None


def without_credentials(text: str) -> str:
    """Return a text without the passwords and tokens in its addresses."""
    return _USERINFO.sub("", text)


def some(names: Sequence[str], most: int = 8) -> str:
    """Name the first of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
