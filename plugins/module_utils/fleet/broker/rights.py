"""Users of the broker and their least privileges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..host.names import node_pattern
from ..model.names import BEAT, DEAD, VERIFY
from ..model.types import Flower, Pool
from .delays import DELAY_ENTRY, DELAY_LEVELS

# As whom the kit works.
ADMINISTRATOR: Final = "kit"
# As whom Flower hears events.
FLOWER: Final = "flower"
# What every worker's remote control, gossip and events need; a queue of one process is named by a UUID.
_UUID: Final = "[0-9a-f-]{36}"
CONTROL: Final = (
    rf"celeryev(\.{_UUID})?",
    r"celery\.pidbox",
    r"reply\.celery\.pidbox",
    rf"{_UUID}\.reply\.celery\.pidbox",
)


def worker_user(pool: str) -> str:
    """Return the broker's user of a pool's workers."""
    return f"worker_{pool}"


def users(pools: Iterable[Pool], flower: Flower, managed: bool = True) -> list[dict[str, Any]]:
    """Return the broker's users.

    Args:
        pools: All pools of the fleet.
        flower: What Flower may do, if it runs.
        managed: Whether the kit installs the broker; another one has its administrator already.

    Returns:
        Each user's name and tags.
    """
    tags = {ADMINISTRATOR: ["administrator"], "monitor": ["monitoring"]}
    workers = [worker_user(pool.name) for pool in pools]
    names = [
        *([ADMINISTRATOR] if managed else []),
        *workers,
        "client",
        "monitor",
        "verify",
        "dead_letters",
        "beat",
    ]
    names += [FLOWER] if flower.runs else []
    return [{"name": name, "tags": tags.get(name, [])} for name in names]


def at_broker(topology: Mapping[str, Any]) -> dict[str, Any]:
    """Return a topology with the names that the fleet's users have at the broker.

    Args:
        topology: What ``topology`` returned, with the kit's own names and the prefix of the site.
    """
    prefix = topology.get("user_prefix", "")
    own = {user["name"] for user in topology["users"]}

    def named(entry: Mapping[str, Any], field: str) -> dict[str, Any]:
        return {**entry, field: f"{prefix}{entry[field]}" if entry[field] in own else entry[field]}

    return {
        **topology,
        "users": [named(user, "name") for user in topology["users"]],
        **{
            section: [named(right, "user") for right in topology.get(section, ())]
            for section in ("permissions", "topic_permissions")
        },
    }


def reached(pool: Pool, pools: Iterable[Pool]) -> list[Pool]:
    """Return the pools that the tasks of a pool may publish to: its own, and those that it calls."""
    return [other for other in pools if pool.calls is None or other.name in (pool.name, *pool.calls)]


# Of these, what whoever only sends commands and reads answers needs. Nobody but workers reads commands.
_ANSWERS: Final = (CONTROL[2], CONTROL[3])
_COMMANDS: Final = (CONTROL[1], CONTROL[3])


def permissions_of(
    pools: Iterable[Pool],
    delayed: bool,
    client_control: bool = False,
    flower: Flower | None = None,
    administrator: str = ADMINISTRATOR,
) -> list[dict[str, Any]]:
    """Return what each user may configure, write and read.

    Args:
        pools: All pools of the fleet.
        delayed: Whether the broker delays tasks.
        client_control: Whether clients may send remote control.
        flower: What Flower may do, if it runs.
        administrator: As whom the kit works.
    """
    all_pools = list(pools)
    every = _publishes(all_pools, delayed)
    return [
        _permission(administrator, ".*", ".*", ".*"),
        *(_worker_permission(pool, reached(pool, all_pools), delayed) for pool in all_pools),
        _permission("client", _rights([], *CONTROL[1:]), _rights(every, *_COMMANDS), _rights([], *_ANSWERS))
        if client_control
        else _permission("client", "^$", _rights(every), "^$"),
        _permission("monitor", "^$", "^$", "^$"),
        _permission("verify", "^$", _rights(every), _rights([VERIFY])),
        # Also what pools left that the model no longer has.
        _permission(
            "dead_letters", "^$", _rights(dict.fromkeys(pool.exchange for pool in all_pools)), f"^.+{DEAD}$"
        ),
        _permission(
            "beat", "^$", _rights(dict.fromkeys(pool.exchange for pool in all_pools)), _rights([BEAT])
        ),
        *([_flower_permission(flower.control)] if flower and flower.runs else []),
    ]


def _flower_permission(control: bool) -> dict[str, Any]:
    """Let Flower hear events, and nothing else unless it may command workers."""
    told, queue = CONTROL[0], rf"celeryev\.{_UUID}"
    if control:
        return _permission(
            FLOWER, _rights([], *CONTROL), _rights([], queue, *_COMMANDS), _rights([], told, *_ANSWERS)
        )
    return _permission(FLOWER, _rights([], told), _rights([], queue), _rights([], told))


def _worker_permission(pool: Pool, callees: Iterable[Pool], delayed: bool) -> dict[str, Any]:
    control = (*CONTROL, rf"{node_pattern(pool.name)}\.celery\.pidbox")
    return _permission(
        worker_user(pool.name),
        _rights([], *control),
        _rights([*_publishes(callees, delayed), VERIFY], *control),
        _rights(pool.queues, *control),
    )


def _publishes(pools: Iterable[Pool], delayed: bool) -> list[str]:
    """Return the exchanges through which tasks reach these pools, at once or delayed."""
    targets = list(pools)
    entry = [DELAY_ENTRY] if delayed and any(pool.exchange_type == "topic" for pool in targets) else []
    return [*dict.fromkeys(pool.exchange for pool in targets), *entry]


def topic_permissions_of(pools: Iterable[Pool], delayed: bool) -> list[dict[str, Any]]:
    """Return the routing keys that each user may publish with.

    Nobody but the scheduler may publish with the key of its notes, which is bound to the pools' exchanges.
    All delayed tasks go through one exchange, which holds workers to the keys of the pools that they reach.
    """
    all_pools = list(pools)
    permissions = [
        {"user": user, "exchange": exchange, "write": rf"^(?!{re.escape(BEAT)}$)", "read": "^$"}
        for user in (*(worker_user(pool.name) for pool in all_pools), "client", "verify", "dead_letters")
        for exchange in dict.fromkeys(pool.exchange for pool in all_pools if pool.exchange_type == "topic")
    ]
    for pool in all_pools if delayed else ():
        callees = [other for other in reached(pool, all_pools) if other.exchange_type == "topic"]
        keys = [re.escape(queue.routing_key) for other in callees for queue in other.queues.values()]
        write = rf"^([01]\.){{{DELAY_LEVELS}}}({'|'.join(keys)})$" if keys else "^$"
        permissions.append(
            {"user": worker_user(pool.name), "exchange": DELAY_ENTRY, "write": write, "read": "^$"}
        )
    return permissions


def _permission(user: str, configure: str, write: str, read: str) -> dict[str, Any]:
    return {"user": user, "configure": configure, "write": write, "read": read}


def _rights(names: Iterable[str], *patterns: str) -> str:
    return "^(" + "|".join([*patterns, *map(re.escape, names)]) + ")$"
