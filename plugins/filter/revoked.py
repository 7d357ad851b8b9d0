"""Filter that shows which tasks are cancelled on a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns, count

# Ids that are shown one by one.
MOST = 20


def revoked_text(result: Mapping[str, Any]) -> list[str]:
    """Write what the module `worker_revoke` returned as lines for a person.

    Args:
        result: What it returned.

    Returns:
        What is cancelled here, and what of it runs or was ended.
    """
    orders = result["orders"]
    ids = list(orders["ids"])
    rows = [
        ["cancelled", id, "ends it if it runs" if orders["ids"][id]["terminate"] else ""] for id in ids[:MOST]
    ]
    if len(ids) > MOST:
        rows.append(["cancelled", f"and {count(len(ids) - MOST, 'id')} more", ""])
    rows += [["cancelled", each["name"], "what was published before the order"] for each in orders["tasks"]]
    rows += [["was ended", each["id"], f"{each['name']} in pool {each['pool']}"] for each in result["ended"]]
    rows += [["runs", each["id"], f"{each['name']} in pool {each['pool']}"] for each in result["running"]]
    return [str(line) for line in columns(rows)] if rows else ["nothing is cancelled here"]


class FilterModule:
    """Filters of the verb `revoke`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"revoked_text": lambda result: revoked_text(plain(result))}
