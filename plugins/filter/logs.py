"""Filter of the verb `logs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.journal import lines


def logs_text(results: Any, most: int) -> list[str]:  # noqa: ANN401 - of any type until it is made plain
    """Write what the module `worker_logs` returned on several hosts.

    Args:
        results: By host what it returned; nothing of a host that did not answer.
        most: The most entries.

    Returns:
        The entries, merged by their times; after them the hosts that did not answer.
    """
    logs: dict[str, Any] = {
        host: each["entries"] if isinstance(each, dict) and "entries" in each else None
        for host, each in plain(results).items()
    }
    silent = [host for host, entries in logs.items() if entries is None]
    shown = lines({host: entries for host, entries in logs.items() if entries is not None}, most)
    return (shown or ["nothing of it is in these journals"]) + [f"{host} did not answer" for host in silent]


class FilterModule:
    """The filter of the verb `logs`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"logs_text": logs_text}
