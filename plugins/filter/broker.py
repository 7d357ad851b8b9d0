"""Results of the playbooks that restart and upgrade brokers, for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.packages import planned
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.versions import refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns


def broker_restarts(nodes: Iterable[Mapping[str, Any]]) -> str:
    """Write one line per node.

    Args:
        nodes: For each its name, the version before and after, the seconds out of service, and whether it
            is the only one.

    Returns:
        A table.
    """
    all_nodes = list(nodes)
    rows = [("node", "version", "out of service")]
    for node in all_nodes:
        same = node["before"] == node["after"]
        version = node["before"] if same else f"{node['before']} → {node['after']}"
        rows.append((node["node"], version, f"{float(node['seconds']):.1f} s"))
    lines = columns(rows)
    if any(node["single"] for node in all_nodes):
        lines.append("The only node: its clients waited for as long, and no task was lost.")
    return "\n".join(lines)


class FilterModule:
    """Filters of the broker's playbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "broker_restarts": broker_restarts,
            "planned_packages": planned,
            "upgrade_refusal": refusal,
        }
