"""Reads the options of the verbs: ``verb_options`` in the vars of a playbook's first play."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
PLAYBOOKS: Final = ROOT / "playbooks"
KEYS: Final = {"description", "default", "required", "choices"}


def verbs() -> list[str]:
    """Return the names of the verbs, which are those of their playbooks."""
    return sorted(path.stem for path in PLAYBOOKS.glob("*.yml"))


def plays(path: Path) -> list[dict[str, Any]]:
    """Read the plays of a playbook, with those of the playbooks that it imports in their places.

    Args:
        path: The playbook.
    """
    all_plays = []
    for play in yaml.safe_load(path.read_text()):
        imported = play.get("ansible.builtin.import_playbook")
        all_plays += [play, *(plays(path.parent / imported) if imported else ())]
    return all_plays


def options(verb: str) -> dict[str, dict[str, Any]]:
    """Return the options of a verb, with those of the playbooks that it imports.

    Args:
        verb: Name of the verb.

    Returns:
        For each option its ``description``, its ``default`` unless it is ``required``, and perhaps its
        ``choices``.

    Raises:
        ValueError: If an option has other keys, or no description.
    """
    all_options: dict[str, dict[str, Any]] = {}
    for play in plays(PLAYBOOKS / f"{verb}.yml"):
        declared = play.get("vars", {}).get("verb_options", {})
        all_options |= {name: option for name, option in declared.items() if name not in all_options}
    for name, option in all_options.items():
        if (
            not option.get("description")
            or option.keys() - KEYS
            or ("default" in option) == ("required" in option)
        ):
            raise ValueError(
                f"{verb}: {name} has a description, and a default or `required: true`; not {option}"
            )
    return all_options
