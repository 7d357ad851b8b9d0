"""Writes the broker's users, their rights and where their passwords are, from the derived permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fleet.broker.rights import FLOWER
from fleet.broker.topology import topology
from fleet.files.users import OPERATORS, host_users
from fleet.host.names import FLOWER_USER, OPERATOR_USER
from reference import table

WHO: Final = {
    "kit": "the kit, on the broker's own host",
    "client": "whoever publishes tasks",
    "monitor": "the site's monitoring, which sees the management API",
    "verify": "`verify`",
    "dead_letters": "`dead_letters`",
    "beat": "the scheduler",
    "flower": "Flower, where the inventory has a host for it: it hears events",
}
# What a queue or an exchange that holds no tasks is for.
MEANS: Final = {
    "fleet_verify": "answers of canaries",
    "fleet_beat": "the lock of the scheduler",
    "celery_delayed_27": "delayed tasks",
}


def users(raw: dict[str, Any]) -> str:
    """Write what each user of the broker may read and where it may publish.

    Args:
        raw: The repository's own model.

    Returns:
        A table of the topology's users; a user that ``WHO`` lacks is an error.
    """
    derived = topology({**raw, "flower": {"runs": True}}, {})
    rights = {each["user"]: each for each in derived["permissions"]}
    pools = {f"worker_{name}": f"workers of `{name}`" for name in raw["pools"]}
    kinds = {pool["exchange"] for pool in raw["pools"].values()}
    groups = {
        "every pool's exchange": kinds,
        "the dead-letter queues": {f"{exchange}_dead" for exchange in kinds},
    }
    return table(
        ("user", "reads", "publishes to", "who it is"),
        (
            (
                f"`{name}`",
                _allowed(rights[name]["read"], derived["queues"], groups),
                _allowed(rights[name]["write"], derived["exchanges"], groups),
                (WHO | pools)[name],
            )
            for name in (user["name"] for user in derived["users"])
        ),
    )


def _allowed(pattern: str, objects: Iterable[Mapping[str, Any]], groups: Mapping[str, set[str]]) -> str:
    """Name the objects that a permission matches, as the broker matches it."""
    if pattern == ".*":
        return "everything"
    names = [each["name"] for each in objects if re.search(pattern, each["name"])]
    whole = [text for text, group in groups.items() if group <= set(names)]
    single = [name for name in names if not any(name in groups[text] for text in whole)]
    listed = whole + [f"{MEANS[name]} (`{name}`)" if name in MEANS else f"`{name}`" for name in single]
    return ", ".join(listed) or "nothing"


def passwords(raw: dict[str, Any]) -> str:
    """Write which hosts have whose passwords, and who may read them there.

    Args:
        raw: The repository's own model.
    """
    everywhere = host_users(raw)
    hosts = {
        "worker, client": everywhere,
        "worker": ["worker_<pool>"],
        "the first client (without clients: the first worker)": [
            user for user in host_users(raw, operates=True) if user not in everywhere
        ],
        "a host of the scheduler": [
            user for user in host_users(raw, schedules=True) if user not in everywhere
        ],
        "a host of `flower`": [FLOWER],
    }
    return table(
        ("host", "users", "readable for"),
        [
            *(
                (
                    host,
                    ", ".join(f"`{user}`" for user in names)
                    + (" of each of its pools" if host == "worker" else ""),
                    _readers(names),
                )
                for host, names in hosts.items()
            ),
            ("controller", "all", "who runs Ansible"),
        ],
    )


def _readers(names: Sequence[str]) -> str:
    if set(names) <= set(OPERATORS):
        return f"`{OPERATOR_USER}`"
    if names == [FLOWER]:
        return f"`{FLOWER_USER}`"
    own = {
        "client": "the scheduler's user, ",
        "worker_<pool>": "the pool's user, ",
        "beat": "the scheduler's user, ",
    }[names[0]]
    more = "; on a client those of `fleet_client_users`" if "client" in names else ""
    return f"{own}the application's user{more}"
