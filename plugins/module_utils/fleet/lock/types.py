"""What a site says of its lock, and what is read of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .requirement import Requirement

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
    def python_option(self) -> str:
        """The option of uv that resolves for the Python of the hosts."""
        version = re.search(r"3\.\d+", self.python)
        return f" --python-version {version[0]}" if version else " --universal"


@dataclass(frozen=True)
class Lock:
    """The application's lock.

    Attributes:
        requirements: What hosts may need, in the lock's order.
        requires_python: Specifier of the Pythons for which it was made; empty if it does not say.
        sdists: Names of those that are built on the hosts.
    """

    requirements: tuple[Requirement, ...]
    requires_python: str = ""
    sdists: frozenset[str] = frozenset()

    @property
    def wheels_text(self) -> str:
        """Requirements that are installed from wheels, one a line."""
        return _text(r for r in self.requirements if r.name not in self.sdists)

    @property
    def sdists_text(self) -> str:
        """Requirements that are built on the hosts, one a line."""
        return _text(r for r in self.requirements if r.name in self.sdists)


def _text(requirements: Iterable[Requirement]) -> str:
    return "".join(f"{requirement.line}\n" for requirement in requirements)


def wanted_of(app: Mapping[str, Any]) -> Wanted:
    """Return what ``fleet_app`` says of its lock."""
    return Wanted(
        app["requirements"],
        tuple(app.get("groups") or ()),
        tuple(app.get("extras") or ()),
        app.get("hashes", True) is not False,
        tuple(app.get("sdists") or ()),
        tuple(index["url"] for index in app.get("indexes") or ()),
        app["python"],
    )
