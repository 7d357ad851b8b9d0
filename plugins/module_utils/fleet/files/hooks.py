"""Hooks of a release as they are run, and the files in a release that record which ones it has had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.commands import HOOKS, TIMEOUT_S, argv
from ..model.plain import plain
from .digest import digest


def release_hooks(app: Mapping[str, Any], place: str) -> dict[str, list[dict[str, Any]]]:
    """Return the hooks of a release.

    Args:
        app: The mapping `fleet_app`.
        place: Directory of the release.

    Returns:
        For each kind its hooks in their order, each with ``name``, ``argv``, ``timeout`` (seconds) and the
        ``mark`` that the release has of it. One whose command has changed is another one.

    Raises:
        ValueError: If a command can't be split into arguments.
    """
    settings = plain(app)
    return {
        kind: [
            {
                "name": hook["name"],
                "argv": (words := argv(hook["command"])),
                "timeout": hook.get("timeout", TIMEOUT_S),
                "mark": f"{place}/.{kind}-{digest(words)[:8]}",
            }
            for hook in settings.get(kind) or []
        ]
        for kind in HOOKS
    }
