"""The broker's users whose passwords a host gets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..broker.rights import users, worker_user
from ..host.names import BEAT_USER, user_of
from ..model.host import read_host
from ..model.names import RESULTS_CLIENT, RESULTS_WORKER
from ..model.pools import effective_pools
from ..model.read import read_model
from ..results import USERS

# Users with which root verifies the fleet and handles dead letters, on one host.
OPERATORS: Final = ("verify", "dead_letters")
SCHEDULER_LOGIN: Final = "beat"


def fleet_users(raw_model: object, *, results: bool = False) -> list[str]:
    """Return the users of the broker and, where the fleet keeps results, of their server.

    Args:
        raw_model: The mapping ``fleet_model``.
        results: Whether only those of the server of results are meant.

    Returns:
        The users' names.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    keeps = list(USERS) if model.results else []
    return (
        keeps
        if results
        else [
            *(user["name"] for user in users(model.pools.values(), model.flower, model.broker.managed)),
            *keeps,
        ]
    )


def host_users(
    raw_model: object,
    host: object = None,
    *,
    operates: bool = False,
    schedules: bool = False,
) -> list[str]:
    """Return the users whose passwords a host needs to reach the broker and the results, and no others.

    Args:
        raw_model: The mapping ``fleet_model``.
        host: What ``read_host`` takes.
        operates: Whether root verifies the fleet and handles dead letters from this host.
        schedules: Whether the host may run the scheduler.

    Returns:
        The users' names.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    pools = effective_pools(model, read_host(host), findings)
    findings.refuse()
    return [
        "client",
        *map(worker_user, pools),
        *(OPERATORS if operates else ()),
        *([SCHEDULER_LOGIN] if schedules else ()),
        *([RESULTS_CLIENT, *([RESULTS_WORKER] if pools else [])] if model.results else ()),
    ]


def unix_users(users: Collection[str]) -> dict[str, str]:
    """Return which Unix user of a host reads a password that is for one kind of process.

    Args:
        users: The broker's users whose passwords the host has.

    Returns:
        The Unix users of its pools' workers and of the scheduler, by the broker's users.
    """
    prefix = worker_user("")
    workers = {user: user_of(user.removeprefix(prefix)) for user in users if user.startswith(prefix)}
    return workers | ({SCHEDULER_LOGIN: BEAT_USER} if SCHEDULER_LOGIN in users else {})
