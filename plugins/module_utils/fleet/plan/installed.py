"""What runs on a host now, read from the fleet's installed units, and how a plan differs from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from ..host.names import PREFIX, Name
from ..host.steps import UP

# Figures of a unit's command line by the option that carries them.
_OPTIONS: Final = {
    "hostname": "node",
    "queues": "queues",
    "pool": "execution",
    "autoscale": "concurrency",
    "concurrency": "concurrency",
    "prefetch-multiplier": "prefetch_multiplier",
    "max-tasks-per-child": "max_tasks_per_child",
    "soft-time-limit": "soft_time_limit",
    "time-limit": "time_limit",
}

_SETTINGS: Final = {
    "TimeoutStopSec": "stop_timeout",
    "CPUWeight": "cpu_weight",
    "MemoryHigh": "memory_high_mib",
    "MemoryMax": "memory_max_mib",
    "TasksMax": "tasks_max",
}


def read_units(texts: Mapping[str, str], instances: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Read the figures of the fleet's installed units.

    Args:
        texts: Unit and slice files by their names; others than the fleet's are left alone.
        instances: Pairs of a loaded unit's name and its state.

    Returns:
        For each pool its ``figures`` (texts, as ``plan_figures`` gives them) and the ``releases`` that run.
    """
    units: dict[str, dict[str, str]] = {}
    for name, text in texts.items():
        found = Name.parse(name)
        if found and "CELERY_FLEET_POOL=" in text:
            units.setdefault(found.pool, {})[name] = text
    states = dict(instances)
    installed = {}
    for pool, mine in sorted(units.items()):
        running = [name for name in sorted(mine) if states.get(name) in UP]
        installed[pool] = {
            "figures": _figures(mine[(running or sorted(mine))[-1]])
            | _figures(texts.get(f"{PREFIX}{pool}.slice", "")),
            "releases": sorted({known.release for unit in running if (known := Name.parse(unit))}),
        }
    return installed


def _figures(text: str) -> dict[str, str]:
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        key, _, value = line.partition("=")
        if key in _SETTINGS:
            found[_SETTINGS[key]] = re.sub(r"(?<=\d)(M|s)$", "", value)
        if key == "ExecStart":
            words = shlex.split(value)
            for option, given in pairwise(words):
                if (name := _OPTIONS.get(option.removeprefix("--"))) and option.startswith("--"):
                    found[name] = _range(given) if option == "--autoscale" else given
            # The plan's node is that of all instances.
            found["node"] = re.sub(r"_(\d+|@n@)@", "@", found.get("node", ""))
    return found


def _range(autoscale: str) -> str:
    most, _, least = autoscale.partition(",")
    return f"{least}-{most}"


def plan_figures(pool: Mapping[str, Any]) -> dict[str, str]:
    """Give the figures of a planned pool as an installed unit would show them.

    Args:
        pool: One pool of what ``host_plan`` gave.

    Returns:
        Texts by the name of the figure; limits that the execution pool cannot enforce are left out.
    """
    scales = pool["autoscale"]["enabled"]
    figures = {
        "concurrency": f"{pool['autoscale']['min']}-{pool['concurrency']}" if scales else pool["concurrency"],
        "execution": pool["execution"],
        "queues": ",".join(sorted(pool["queues"])),
        "prefetch_multiplier": pool["prefetch_multiplier"],
        "node": pool["node"],
    }
    if pool["execution"] == "prefork":
        figures |= {key: pool[key] for key in ("max_tasks_per_child", "soft_time_limit")}
    if pool["execution"] != "threads":
        figures["time_limit"] = pool["time_limit"]
    figures |= {key: pool[key] for key in _SETTINGS.values()}
    return {key: str(value) for key, value in figures.items()}


def changes(
    pools: Mapping[str, Mapping[str, Any]], installed: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Compare the planned pools of a host with what is installed on it.

    Args:
        pools: The pools of what ``host_plan`` gave.
        installed: What ``read_units`` gave.

    Returns:
        For each pool an ``action`` (``add``, ``change``, ``keep`` or ``remove``) and the ``fields`` that
        differ, each with what is ``now`` and what comes ``then`` (none where there is nothing).
    """
    found: dict[str, dict[str, Any]] = {}
    for name, pool in pools.items():
        if name not in installed:
            found[name] = {"action": "add", "fields": {}}
            continue
        now, then = installed[name]["figures"], plan_figures(pool)
        fields = {
            key: {"now": now.get(key), "then": then.get(key)}
            for key in dict.fromkeys([*then, *now])
            if now.get(key) != then.get(key)
        }
        if not installed[name]["releases"]:
            fields["running"] = {"now": "no", "then": "yes"}
        found[name] = {"action": "change" if fields else "keep", "fields": fields}
    gone = [name for name in installed if name not in pools]
    return found | {name: {"action": "remove", "fields": {}} for name in gone}
