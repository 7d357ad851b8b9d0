"""Writes who decides which of Celery's settings, from the package's own table."""

from __future__ import annotations

from typing import Any

from reference import table

from celery_fleet.settings.table import PARTS


def settings(raw: dict[str, Any]) -> str:
    """Write every setting of Celery: who decides it, and what becomes of an application's own value.

    Args:
        raw: Not used.
    """
    return "\n".join(
        f"### {part}\n\n"
        + table(
            ("settings", "decided by", "what that means"),
            (
                (", ".join(f"`{name}`" for name in names.split()), entry.decides.value, entry.meaning)
                for names, entry in groups.items()
            ),
        )
        for part, groups in PARTS.items()
    )
