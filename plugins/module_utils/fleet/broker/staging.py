"""The staging queues of a move: what is published there, and has perhaps not left the old broker yet.

They are there for as long as a move takes, and no part of the topology. Their user can do nothing else. What
comes from a former broker of the fleet goes through one for each exchange, so that it has the exchange and
the key that it was published with; what comes from another one goes through a single one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from ..model.names import BEAT, DEAD, DELAYED
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
    kinds = {exchange["name"]: exchange["type"] for exchange in topology["exchanges"]}
    outwards = []
    for exchange, key in _addresses(topology):
        outwards.append(binding_of(OUTWARDS, exchange, key, "exchange"))
        if DELAY_ENTRY in kinds and kinds[exchange] == "topic":
            outwards.append(binding_of(OUTWARDS, DELAY_ENTRY, "*." * DELAY_LEVELS + key, "exchange"))
    return {
        "exchanges": [exchange_of(STAGING, "topic"), exchange_of(OUTWARDS, "topic")],
        "queues": [_queue(STAGING, OUTWARDS, version)],
        "bindings": [binding_of(STAGING, STAGING, "#"), *outwards],
    }


def _queue(name: str, target: str, version: tuple[int, ...]) -> dict[str, Any]:
    """Return a queue whose rejected messages go to an exchange."""
    # One consumer at a time, and the next only when the broker knows that the one before is gone.
    arguments: dict[str, Any] = {
        "x-single-active-consumer": True,
        "x-overflow": "reject-publish",
        "x-max-length": LENGTH,
        "x-dead-letter-exchange": target,
        "x-dead-letter-strategy": "at-least-once",
    }
    if version >= (4, 0):
        arguments["x-delivery-limit"] = -1
    return queue_of(name, "quorum", **arguments)


def routes(topology: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how the messages of a former broker of the fleet get to each exchange.

    Args:
        topology: The desired topology.

    Returns:
        For each `exchange` the `staging` queue; the `queues` of the former broker with the key by which their
        messages go on, empty if each has its own; whether they are `delayed`, and whether dead `letters`.
        The scheduler's notes come first, then what waits for its time, which may come meanwhile.
    """
    tasks: dict[str, dict[str, str]] = {}
    for exchange, key in _addresses(topology):
        for each in topology["bindings"]:
            if (each["source"], each["routing_key"]) == (exchange, key):
                tasks.setdefault(exchange, {})[each["destination"]] = key
    first = next(iter(tasks))
    names = [each["name"] for each in topology["queues"]]
    delays = {name: "" for name in names if name.startswith(DELAYED)}
    return [
        {"staging": f"{STAGING}.{BEAT}", "exchange": first, "queues": {BEAT: BEAT}},
        *(
            [{"staging": f"{STAGING}.{DELAYED}", "exchange": DELAY_ENTRY, "queues": delays, "delayed": True}]
            if delays
            else []
        ),
        *(
            {"staging": f"{STAGING}.{exchange}", "exchange": exchange, "queues": queues}
            for exchange, queues in tasks.items()
        ),
        *(
            {"staging": f"{STAGING}.{name}", "exchange": name, "queues": {name: ""}, "letters": True}
            for name in names
            if name.endswith(DEAD)
        ),
    ]


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


def create(
    broker: Management,
    topology: Mapping[str, Any],
    password: str,
    ways: Collection[Mapping[str, Any]] = (),
    user: str = STAGING,
) -> None:
    """Create what the move needs; what is there stays, with a new password.

    Args:
        broker: The broker's management API.
        topology: The desired topology.
        password: Of the move's user.
        ways: From a former broker, as `routes` returns them; none from another one.
        user: Its name, which a broker has once for all virtual hosts.

    Raises:
        BrokerError: The broker can't be reached, or refuses it.
    """
    vhost = topology["vhost"]
    major, minor = broker.definitions()["rabbitmq_version"].split(".")[:2]
    version = (int(major), int(minor))
    wanted = definitions(topology, version)
    if ways:
        names = [each["staging"] for each in ways]
        wanted = {
            "exchanges": [exchange_of(name, "topic") for name in names],
            "queues": [_queue(each["staging"], each["exchange"], version) for each in ways],
            "bindings": [binding_of(name, name, "#") for name in names],
        }
    broker.load({section: [{**each, "vhost": vhost} for each in wanted[section]] for section in wanted})
    # The scheduler's notes count as those of the user who published them.
    broker.set_user(user, password, "impersonator" if ways else "")
    name = rf"^{STAGING}(\..+)?$"
    broker.set_permission(vhost, user, {"configure": "^$", "write": name, "read": name})


def admit(broker: Management, topology: Mapping[str, Any], password: str, user: str = STAGING) -> None:
    """Let the move's user read the queues of a former broker of the fleet.

    Args:
        broker: The former broker's management API.
        topology: The desired topology.
        password: Of that user.
        user: Its name.

    Raises:
        BrokerError: The broker can't be reached, or refuses it.
    """
    names = [re.escape(name) for each in routes(topology) for name in each["queues"]]
    broker.set_user(user, password)
    broker.set_permission(
        topology["vhost"],
        user,
        {"configure": "^$", "write": "^$", "read": f"^({'|'.join(names)})$"},
    )


def remove(
    broker: Management,
    vhost: str,
    count: Count,
    queues: Collection[str] = (STAGING,),
    user: str = STAGING,
) -> int:
    """Remove what the move needed, when nothing waits there any more.

    Args:
        broker: The broker's management API.
        vhost: The fleet's.
        count: Counts what queues hold.
        queues: The staging queues, each with an exchange of its name.
        user: The move's user.

    Returns:
        How many messages still wait there, for room in the queues of the fleet; if any, nothing is removed.

    Raises:
        BrokerError: The broker can't be reached, or refuses it, or a queue has no majority.
    """
    held = sum(each.messages for each in count(queues).values() if each is not None)
    if held:
        return held
    objects = [(kind, name) for kind in ("queue", "exchange") for name in queues]
    for key in [("user", user), *objects, ("exchange", OUTWARDS)]:
        broker.remove_if_there(key, vhost)
    return 0


def dismiss(broker: Management, vhost: str, user: str = STAGING) -> None:
    """Remove the move's user from a former broker of the fleet.

    Raises:
        BrokerError: The broker can't be reached, or refuses it.
    """
    broker.remove_if_there(("user", user), vhost)
