"""Filter that shows what a run changed on a host's instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns

DONE = {
    "kept": "serves already",
    "started": "serves now",
    "drained": "is drained, and stays so",
    "gone": "is no pool of this host any more",
}


def instances_text(pools: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write what was done as lines for a person.

    Args:
        pools: What the module `worker_instances` returns

    Returns:
        One line per pool, and one per instance that still finishes
    """
    rows = []
    for pool, outcome in sorted(pools.items()):
        moves = (
            outcome["is"] if outcome["was"] in ("", outcome["is"]) else f"{outcome['was']} → {outcome['is']}"
        )
        rows.append([pool, moves, DONE[outcome["done"]], outcome["unit"]])
        rows += [["", "", "finishes its tasks", unit] for unit in outcome["finish"]]
    return [str(line) for line in columns(rows)] if rows else ["no pool of the fleet runs here"]


class FilterModule:
    """Filters of the verbs that replace instances."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"instances_text": instances_text}
