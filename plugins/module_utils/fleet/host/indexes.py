"""Indexes of packages that a site names, as uv is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# The option of modules that install packages (doc_fragments/indexes.py).
INDEXES: Final[dict[str, Any]] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "url": {"type": "str", "required": True},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
    },
}


def index_environment(indexes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the environment in which uv asks some indexes and no others.

    Users and passwords are in variables of their own, so that no address that uv shows holds them.

    Args:
        indexes: As ``fleet_app.indexes``; the first takes the place of PyPI.
    """
    if not indexes:
        return {}
    named = {f"FLEET{at}": index for at, index in enumerate(indexes)}
    first, *others = (f"{name.lower()}={index['url']}" for name, index in named.items())
    return {
        "UV_DEFAULT_INDEX": first,
        "UV_INDEX": " ".join(others),
        "UV_FIND_LINKS": "",
        # Any may have what the lock pins, and hashes say which file is meant; of one alone uv tells more.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if others else "first-index",
    } | {
        f"UV_INDEX_{name}_{part.upper()}": str(index[part])
        for name, index in named.items()
        for part in ("username", "password")
        if index.get(part)
    }
