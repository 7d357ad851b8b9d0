"""What a site says of its lock, and what is read of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specification
from packaging.version import Version

from .requirement import Requirement, normalized

VARIABLE: Final = "fleet_app.requirements"


@dataclass(frozen=True)
class Wanted:
    """What a site says of its lock.

    Attributes:
        requirements: The lock: its path from the application's directory, or on the controller.
        groups: Groups that are installed beside the main one.
        extras: Extras of the application that are installed.
        hashes: Whether every requirement must have hashes.
        sdists: Packages that may be built on the hosts.
        indexes: Addresses of the indexes that the hosts ask.
        python: Interpreter on the hosts.
    """

    requirements: str
    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    hashes: bool = True
    sdists: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    python: str = "python3"

    @property
    def version(self) -> str:
        """The version of Python that the site names, such as ``3.13``; empty if the hosts decide."""
        found = re.search(r"3\.\d+", self.python)
        return found[0] if found else ""

    @property
    def python_option(self) -> str:
        """The option of uv that resolves for the Python of the hosts."""
        return f" --python-version {self.version}" if self.version else " --universal"


@dataclass(frozen=True)
class Lock:
    """The application's lock.

    Attributes:
        requirements: What hosts may need, in the lock's order.
        requires_python: Specifier of the Pythons for which it was made; empty if it does not say.
        sdists: Names of those that are built on the hosts.
        local: Projects and wheels in the source that are installed too, by their paths in it.
    """

    requirements: tuple[Requirement, ...]
    requires_python: str = ""
    sdists: frozenset[str] = frozenset()
    local: tuple[str, ...] = ()

    @property
    def wheels_text(self) -> str:
        """Requirements that are installed from wheels, one a line."""
        return _text(r for r in self.requirements if r.name not in self.sdists)

    @property
    def sdists_text(self) -> str:
        """Requirements that are built on the hosts, one a line."""
        return _text(r for r in self.requirements if r.name in self.sdists)

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """Return the versions of those packages that are pinned, the lowest where hosts differ."""
        found: dict[str, str] = {}
        for requirement in self.requirements:
            other = found.get(requirement.name)
            if requirement.version and (other is None or Version(requirement.version) < Version(other)):
                found[requirement.name] = requirement.version
        return {name: found[name] for name in names if name in found}

    def version_of(self, requirement: str) -> str | None:
        """Return the version at which a package is pinned.

        Args:
            requirement: Its name, with or without a version, such as ``shop==1.4.2``.

        Returns:
            The version; none if the lock does not pin this package at this version.
        """
        try:
            asked = Specification(requirement)
        except InvalidRequirement:
            return None
        version = self.versions([normalized(asked.name)]).get(normalized(asked.name))
        return version if version and asked.specifier.contains(version, prereleases=True) else None


def _text(requirements: Iterable[Requirement]) -> str:
    return "".join(f"{requirement.line}\n" for requirement in requirements)


def wanted_of(app: Mapping[str, Any]) -> Wanted:
    """Return what a site says of its lock.

    Args:
        app: The fields of ``fleet_app``; those that are not given may be null.
    """
    return Wanted(
        app["requirements"],
        tuple(app.get("groups") or ()),
        tuple(app.get("extras") or ()),
        app.get("hashes") is not False,
        tuple(app.get("sdists") or ()),
        tuple(index["url"] for index in app.get("indexes") or ()),
        app["python"],
    )
