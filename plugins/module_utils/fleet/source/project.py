"""What a source says of itself in pyproject.toml or setup.cfg."""

from __future__ import annotations

import configparser
import email
import re
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PYPROJECT: Final = "pyproject.toml"
_VERSION: Final = re.compile(r"v?(\d+(?:\.\d+)*)(?:-(\d+)-g([0-9a-f]+))?")


@dataclass(frozen=True)
class Project:
    """A Python project.

    Attributes:
        file: Where it is described; empty if nowhere.
        requires_python: Specifier of the versions of Python that it runs on; empty if it says none.
        installs: Whether its own tools would install it: it names what builds it, and is not told otherwise.
        buildable: Whether it can be built at all.
        fault: What is wrong with its description; empty if nothing is.
    """

    file: str = ""
    requires_python: str = ""
    installs: bool = False
    buildable: bool = False
    fault: str = ""


def read_project(read: Callable[[str], bytes | None]) -> Project:
    """Read the description of a project.

    Args:
        read: Returns the content of a file of the source; none if there is no such file.
    """
    legacy = read("setup.cfg"), read("setup.py")
    requires = _setup_cfg(legacy[0])
    described = read(_PYPROJECT)
    if described is None:
        file = next((n for n, content in zip(("setup.cfg", "setup.py"), legacy, strict=True) if content), "")
        return Project(file, requires, buildable=bool(legacy[1]))
    try:
        content = tomllib.loads(described.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Project(_PYPROJECT, fault=f"it is not TOML: {error}")
    tools = _table(content, "tool")
    poetry, uv = _table(tools, "poetry"), _table(tools, "uv")
    own = _table(content, "project").get("requires-python")
    if not own:
        own = _poetry(_table(poetry, "dependencies").get("python")) or requires
    built = "build-system" in content
    packaged = uv.get("package", True) is not False and poetry.get("package-mode", True) is not False
    named = bool(_table(content, "project") or poetry or any(legacy))
    return Project(
        _PYPROJECT,
        own if isinstance(own, str) else "",
        installs=built and packaged and named,
        buildable=built or bool(_table(content, "project")) or any(content is not None for content in legacy),
    )


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _setup_cfg(content: bytes | None) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string((content or b"").decode())
    except (configparser.Error, UnicodeDecodeError):
        return ""
    return parser.get("options", "python_requires", fallback="").strip()


def _poetry(constraint: object) -> str:
    """Return Poetry's own notation of versions as a specifier; empty if it is more than a range."""
    if not isinstance(constraint, str) or "|" in constraint or constraint.strip() == "*":
        return ""
    parts: list[str] = []
    for part in constraint.split(","):
        match = re.fullmatch(r"\s*([\^~])\s*(\d+)(?:\.(\d+))?(?:\.(\d+))?\s*", part)
        if match is None:
            exact = re.fullmatch(r"\s*\d+(\.\d+)*(\.\*)?\s*", part)
            parts.append(f"=={part.strip()}" if exact else part.strip())
            continue
        sign, major, minor, patch = match.groups()
        least = ".".join(number for number in (major, minor, patch) if number)
        next_one = f"{int(major) + 1}" if sign == "^" or not minor else f"{major}.{int(minor) + 1}"
        parts += [f">={least}", f"<{next_one}"]
    return ",".join(parts)


def wheel_requires(wheel: Path) -> str:
    """Return the specifier of Pythons in a wheel's metadata; empty if it has none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            content = archive.read(name)
    except (OSError, ValueError, zipfile.BadZipFile):
        return ""
    return str(email.message_from_bytes(content).get("Requires-Python", ""))


def version_of(described: str, commit: str = "") -> str:
    """Return the version of a project that takes it from git's tags, whose sources are no checkout here.

    Args:
        described: A tag, or what `git describe` says.
        commit: The commit, if it is known.
    """
    match = _VERSION.fullmatch(described)
    if match is None:
        return f"0+g{commit[:12]}" if commit else "0"
    number, since, abbreviated = match.groups()
    return f"{number}.post{since}+g{abbreviated}" if since else number
