"""Options of `python -m celery_fleet move-in`, and its result for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns


def move_in_queues(queues: object) -> dict[str, str] | None:
    """Return queues of the fleet by the names of old ones, empty where the router decides.

    Args:
        queues: Such a mapping, a list of old names, or text with commas between them

    Returns:
        The mapping; none if nothing is named
    """
    named = plain(queues)
    if isinstance(named, dict):
        return {str(old): str(new or "") for old, new in named.items()} or None
    names = named if isinstance(named, list) else str(named or "").split(",")
    return {str(name).strip(): "" for name in names if str(name).strip()} or None


def move_in_table(result: Mapping[str, Any]) -> str:
    """Write what the old broker had and has, where its tasks went, and what stays.

    Args:
        result: What the module `move_in` returned

    Returns:
        Tables and sentences
    """
    about = plain(result)
    names = sorted({*about["before"], *about["after"]})
    rows = [("at the old broker", "before", "after")]
    rows += [(name, str(about["before"].get(name, 0)), str(about["after"].get(name, 0))) for name in names]
    targets = [("queue of the fleet", "tasks")]
    targets += [(name, str(count)) for name, count in sorted(about["moved"].items())]
    tables = [columns(rows), columns(targets)] if about["moved"] else [columns(rows)]
    return "\n".join(["\n\n".join("\n".join(table) for table in tables), *about["notes"]])


class FilterModule:
    """Filters of the playbook that moves tasks in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"move_in_queues": move_in_queues, "move_in_table": move_in_table}
