"""Filter that tells what a run over a host's instances did."""

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
    for pool, found in sorted(pools.items()):
        moves = found["is"] if found["was"] in ("", found["is"]) else f"{found['was']} → {found['is']}"
        rows.append([pool, moves, DONE[found["done"]], found["unit"]])
        rows += [["", "", "finishes its tasks", unit] for unit in found["finish"]]
    return [str(line) for line in columns(rows)] if rows else ["no pool of the fleet runs here"]


class FilterModule:
    """Filters of the verbs that replace instances."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filter as playbooks call it."""
        return {"instances_text": instances_text}
