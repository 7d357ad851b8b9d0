"""Which version of the kit this is, and which one a host has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from .host.names import KIT_FILE, below

_LINE: Final = re.compile(r"^version: (\S+)$", re.MULTILINE)

_SEMANTIC: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
# Bytes of a version that are read.
_LONGEST: Final = 100


def version(kit: Path) -> str:
    """Return the version of a kit.

    Args:
        kit: Its directory: a clone, or an installed collection, which has a manifest instead of
            ``galaxy.yml``.

    Raises:
        ValueError: If it says none.
    """
    manifest = kit / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    line = _LINE.search((kit / "galaxy.yml").read_text())
    if line is None:
        raise ValueError(f"{kit}/galaxy.yml says no version")
    return line[1]


def installed(root: Path = Path("/")) -> str:
    """Return the version that last changed a host; empty if it was none that says so.

    Args:
        root: Where the host's files are.
    """
    try:
        with below(root, KIT_FILE).open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace").strip()
    except OSError:
        return ""


def is_older(version: str, other: str) -> bool:
    """Return whether a version comes before another one, by the rules of semantic versions.

    Args:
        version: A version.
        other: Another one. What is no version is not compared.
    """
    one, two = _order(version), _order(other)
    return one is not None and two is not None and one < two


def _order(version: str) -> tuple[Any, ...] | None:
    match = _SEMANTIC.fullmatch(version)
    if match is None:
        return None
    # One before a release comes before it; its parts are compared as numbers before texts.
    parts = match[4].split(".") if match[4] else []
    before = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return (*map(int, match.groups()[:3]), not before, before)
