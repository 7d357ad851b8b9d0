"""Status of the instances and the scheduler on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .names import Name

# Properties of a unit from which its status follows; one call of systemctl returns them for all units.
PROPERTIES: Final = (
    "Id",
    "ActiveState",
    "SubState",
    "NRestarts",
    "MainPID",
    "MemoryCurrent",
    "ActiveEnterTimestampMonotonic",
    "StatusText",
    "ControlGroup",
)

MIB: Final = 1024 * 1024


def read_units(shown: str) -> list[dict[str, str]]:
    """Read what ``systemctl show`` prints of several units.

    Args:
        shown: Its output with at least ``PROPERTIES``.

    Returns:
        The properties of each unit that exists.
    """
    blocks = (block.splitlines() for block in shown.strip().split("\n\n"))
    units = [{name: value for line in lines for name, _, value in [line.partition("=")]} for lines in blocks]
    return [unit for unit in units if "Id" in unit]


def instance(
    unit: Mapping[str, str], state: Mapping[str, Any] | None, memory: int | None, now: float, monotonic: float
) -> dict[str, Any]:
    """Return the status of one instance of a pool.

    Args:
        unit: Its properties.
        state: What the worker reports; none if nothing.
        memory: Bytes that it uses; none if that is not known.
        now: Seconds since the epoch on its host.
        monotonic: Seconds since the start of its host.

    Returns:
        Plain figures: times are in seconds, memory in MiB; none where something is not known.
    """
    named = Name.parse(unit["Id"])
    pool, name = (named.pool, named.instance) if named else ("", unit["Id"])
    entered = _number(unit.get("ActiveEnterTimestampMonotonic"))
    runs = unit["ActiveState"] in ("active", "reloading", "deactivating", "activating")
    own = state if runs and state and state.get("pid") == _number(unit.get("MainPID")) else None
    active = [
        {
            "id": task.get("id"),
            "name": task.get("name"),
            "queue": task.get("queue"),
            "age_s": seconds_since(task.get("started"), now),
            "time_limit": task.get("time_limit"),
        }
        for task in (own or {}).get("active", ())
    ]
    return {
        "pool": pool,
        "instance": name,
        "release": own["release"] if own and own.get("release") else name,
        "unit": unit["Id"],
        "unit_state": f"{unit['ActiveState']} ({unit['SubState']})",
        "state": own["state"]
        if own and "state" in own
        else _SYSTEMD.get(unit["ActiveState"], unit["ActiveState"]),
        "obstacle": (own or {}).get("obstacle") or "",
        "slots": (own or {}).get("slots"),
        "active": active if own and "active" in own else None,
        "reserved": (own or {}).get("reserved"),
        "hung": (own or {}).get("hung"),
        "executed": (own or {}).get("executed"),
        "failed": (own or {}).get("failed"),
        "lost": (own or {}).get("lost") or {},
        "queues": {
            queue: {"waits": each.get("waits"), "newest_s": seconds_since(each.get("newest"), now)}
            for queue, each in ((own or {}).get("queues") or {}).items()
        },
        "last_task_s": seconds_since((own or {}).get("last_task"), now),
        "state_age_s": seconds_since((own or {}).get("updated"), now),
        "memory_mib": None if memory is None else round(memory / MIB),
        "restarts": _number(unit.get("NRestarts")) or 0,
        "lost_consumers": (own or {}).get("restarts_lost_consumer"),
        "up_s": round(monotonic - entered / 1e6) if unit["ActiveState"] == "active" and entered else None,
        "text": unit.get("StatusText", ""),
    }


# What systemd calls the states of a worker that reports nothing.
_SYSTEMD: Final = {"active": "running", "activating": "starting", "deactivating": "stopping"}


def beat(
    unit: Mapping[str, str], state: Mapping[str, Any] | None, now: float, monotonic: float
) -> dict[str, Any]:
    """Return the status of the scheduler of a host.

    Args:
        unit: Properties of its unit.
        state: What the scheduler reports; none if nothing.
        now: Seconds since the epoch on its host.
        monotonic: Seconds since the start of its host.

    Returns:
        Plain figures; ``role`` is ``active``, ``standby``, ``waiting`` or systemd's word.
    """
    entered = _number(unit.get("ActiveEnterTimestampMonotonic"))
    own = state if state and state.get("pid") == _number(unit.get("MainPID")) else None
    tick = (own or {}).get("last_tick") or {}
    return {
        "role": (own or {}).get("role", unit["ActiveState"])
        if unit["ActiveState"] == "active"
        else unit["ActiveState"],
        "obstacle": (own or {}).get("obstacle") or "",
        "release": (own or {}).get("release"),
        "entries": (own or {}).get("entries"),
        "source": (own or {}).get("source") or "",
        "last_tick": tick.get("name"),
        "last_tick_s": seconds_since(tick.get("at"), now),
        "ahead": list((own or {}).get("ahead") or ()),
        "state_age_s": seconds_since((own or {}).get("updated"), now),
        "restarts": _number(unit.get("NRestarts")) or 0,
        "up_s": round(monotonic - entered / 1e6) if unit["ActiveState"] == "active" and entered else None,
    }


def _number(value: object) -> int | None:
    text = str(value)
    # systemd's word for "not known" is the largest number, or a text.
    return int(text) if text.isdigit() and int(text) < 2**63 else None


def seconds_since(then: object, now: float) -> float | None:
    """Return the seconds since a time, none if it is not known."""
    return round(max(0.0, now - then), 1) if isinstance(then, int | float) else None
