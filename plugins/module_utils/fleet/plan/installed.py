"""How a host's plan differs from what runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What of a planned pool is compared as it is.
_FIGURES: Final = (
    "execution",
    "prefetch_multiplier",
    "node",
    "stop_timeout",
    "cpu_weight",
    "memory_max_mib",
    "tasks_max",
)
# Limits that an execution pool can enforce.
_LIMITS: Final = {
    "prefork": ("max_tasks_per_child", "soft_time_limit", "time_limit"),
    "gevent": ("soft_time_limit", "time_limit"),
    "threads": ("soft_time_limit", "time_limit"),
}


def plan_figures(pool: Mapping[str, Any]) -> dict[str, int | str | None]:
    """Return the figures of a planned pool that a person is shown if they change.

    Args:
        pool: One pool of what ``host_plan`` returned.

    Returns:
        Plain values by the name of the figure.
    """
    scales = pool["autoscale"]["enabled"]
    return {
        "concurrency": f"{pool['autoscale']['min']}-{pool['concurrency']}" if scales else pool["concurrency"],
        "queues": ",".join(sorted(pool["queues"])),
        **{name: pool[name] for name in (*_FIGURES, *_LIMITS[pool["execution"]])},
    }


def changes(
    pools: Mapping[str, Mapping[str, Any]], installed: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Compare the planned pools of a host with what is installed on it.

    Args:
        pools: The pools of what ``host_plan`` returned.
        installed: What ``records.installed`` returned on the host.

    Returns:
        For each pool an ``action`` (``add``, ``change``, ``keep`` or ``remove``) and the ``fields`` that
        differ, each with what is ``now`` and what comes ``then`` (none where there is nothing).
    """
    changed: dict[str, dict[str, Any]] = {}
    for name, pool in pools.items():
        if name not in installed:
            changed[name] = {"action": "add", "fields": {}}
            continue
        now, then = installed[name]["figures"], plan_figures(pool)
        if now is None:
            fields: dict[str, Any] = {"worker": {"now": "of an earlier kit", "then": "of this one"}}
        else:
            fields = {
                key: {"now": now.get(key), "then": then.get(key)}
                for key in dict.fromkeys([*then, *now])
                if now.get(key) != then.get(key)
            }
        if not installed[name]["releases"]:
            fields["running"] = {"now": "no", "then": "yes"}
        changed[name] = {"action": "change" if fields else "keep", "fields": fields}
    removed = [name for name in installed if name not in pools]
    return changed | {name: {"action": "remove", "fields": {}} for name in removed}
