"""Which version of the kit this is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(r"^version: (\S+)$", re.MULTILINE)


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
