"""The staging queue of a move: what is published there, and has perhaps not left the old broker yet.

It is there for as long as a move takes, and no part of the topology. Its user can do nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .api import Management
from .counts import Count
from .delays import DELAY_ENTRY, DELAY_LEVELS
from .objects import POLICY_PREFIX, binding_of, exchange_of, queue_of

# The exchange, its queue and their user.
STAGING: Final = "celery_fleet_move_in"
# Where the queue's rejected messages go: to the exchanges of the pools, and to the delays.
OUTWARDS: Final = "celery_fleet_move_out"
# More waits for room in the queues of the fleet at the old broker.
LENGTH: Final = 20_000


def definitions(topology: Mapping[str, Any], version: tuple[int, ...]) -> dict[str, Any]:
    """Return the objects of the move.

    Args:
        topology: The desired topology, as ``topology.topology`` returns it.
        version: Of RabbitMQ, such as ``(4, 0)``.

    Returns:
        Objects of a virtual host by section.
    """
    # One consumer at a time, and the next only when the broker knows that the one before is gone.
    arguments: dict[str, Any] = {
        "x-single-active-consumer": True,
        "x-overflow": "reject-publish",
        "x-max-length": LENGTH,
        "x-dead-letter-exchange": OUTWARDS,
        "x-dead-letter-strategy": "at-least-once",
    }
    if version >= (4, 0):
        arguments["x-delivery-limit"] = -1
    kinds = {exchange["name"]: exchange["type"] for exchange in topology["exchanges"]}
    outwards = []
    for exchange, key in _addresses(topology):
        outwards.append(binding_of(OUTWARDS, exchange, key, "exchange"))
        if DELAY_ENTRY in kinds and kinds[exchange] == "topic":
            outwards.append(binding_of(OUTWARDS, DELAY_ENTRY, "*." * DELAY_LEVELS + key, "exchange"))
    return {
        "exchanges": [exchange_of(STAGING, "topic"), exchange_of(OUTWARDS, "topic")],
        "queues": [queue_of(STAGING, "quorum", **arguments)],
        "bindings": [binding_of(STAGING, STAGING, "#"), *outwards],
    }


def _addresses(topology: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the exchange and the key of each queue of tasks, which alone have a time for their consumers."""
    tasks = {
        policy["name"].removeprefix(POLICY_PREFIX)
        for policy in topology["policies"]
        if "consumer-timeout" in policy["definition"]
    }
    for each in topology["bindings"]:
        # The others are for what comes back from a delay.
        if each["destination"] in tasks and not each["routing_key"].startswith("#."):
            yield each["source"], each["routing_key"]


def create(broker: Management, topology: Mapping[str, Any], password: str) -> None:
    """Create what the move needs; what is there stays, with a new password.

    Args:
        broker: The broker's management API.
        topology: The desired topology.
        password: Of the move's user.

    Raises:
        BrokerError: The broker can't be reached, or refuses it.
    """
    vhost = topology["vhost"]
    major, minor = broker.definitions()["rabbitmq_version"].split(".")[:2]
    wanted = definitions(topology, (int(major), int(minor)))
    broker.load({section: [{**each, "vhost": vhost} for each in wanted[section]] for section in wanted})
    broker.set_user(STAGING, password)
    name = f"^{STAGING}$"
    broker.set_permission(vhost, STAGING, {"configure": "^$", "write": name, "read": name})


def remove(broker: Management, vhost: str, count: Count) -> int:
    """Remove what the move needed, when nothing waits there any more.

    Args:
        broker: The broker's management API.
        vhost: The fleet's.
        count: Counts what queues hold.

    Returns:
        How many messages still wait there, for room in the queues of the fleet; if any, nothing is removed.

    Raises:
        BrokerError: The broker can't be reached, or refuses it, or the queue has no majority.
    """
    held = count([STAGING])[STAGING]
    if held is not None and held.messages:
        return held.messages
    for kind, name in (("user", STAGING), ("queue", STAGING), ("exchange", STAGING), ("exchange", OUTWARDS)):
        broker.remove_if_there((kind, name), vhost)
    return 0
