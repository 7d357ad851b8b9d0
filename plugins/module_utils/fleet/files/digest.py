"""Digests of plain data."""

from __future__ import annotations

import hashlib
import json


def digest(data: object) -> str:
    """Return sixteen characters that differ where data differs.

    Args:
        data: Plain data; the order of keys does not matter.
    """
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
