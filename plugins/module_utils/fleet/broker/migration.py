"""What has to be migrated because it can't be changed in place, and whether that can be done without loss.

While a queue is replaced, an alternate exchange catches what its exchange can't route any more. That works as
long as no other binding of the exchange takes the same messages, which would keep them from the alternate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from .reconcile import Changes, Key, State

# The names of everything that a migration makes, and takes away again at its end, begin with this.
MIGRATION: Final = "celery_fleet_migration."
# Above any policy of the model.
PRIORITY: Final = 1_000


class MigrationError(Exception):
    """A migration would lose messages or touch what isn't the fleet's, or can't go on."""


@dataclass(frozen=True)
class Binding:
    """A binding of one of the fleet's exchanges.

    Attributes:
        source: Exchange.
        kind: Kind of the destination, `queue` or `exchange`.
        destination: Its name.
        routing_key: Routing key or pattern.
        arguments: Arguments.
    """

    source: str
    kind: str
    destination: str
    routing_key: str
    arguments: Mapping[str, Any]


def bindings(state: State) -> list[Binding]:
    """Return all bindings of a state.

    Args:
        state: What a broker has.

    Returns:
        The bindings, in the order of their keys.
    """
    return [
        Binding(key[1], key[2], key[3], key[4], attributes["arguments"])
        for key, attributes in sorted(state.items())
        if key[0] == "binding"
    ]


def interrupted(definitions: Mapping[str, Any], vhost: str) -> dict[str, dict[str, Any]]:
    """Return the migrations of queues that were begun and not finished.

    Args:
        definitions: What `GET /api/definitions` answered.
        vhost: The fleet's vhost.

    Returns:
        What each of them has remembered, by the queue's name.
    """
    prefix = record_name(vhost, "")
    return {
        each["name"].removeprefix(prefix): dict(each["value"])
        for each in definitions.get("global_parameters", [])
        if each["name"].startswith(prefix)
    }


def record_name(vhost: str, queue: str) -> str:
    """Return the global parameter in which the migration of a queue stores what a repeated run needs.

    Args:
        vhost: The fleet's vhost.
        queue: The queue's name.

    Returns:
        Name of the parameter.
    """
    return f"{MIGRATION}{vhost}/{queue}"


def chosen(todo: Changes, begun: Iterable[str], only: str | None) -> tuple[list[str], list[str]]:
    """Return the exchanges and queues that have to be migrated.

    Args:
        todo: What the topology needs.
        begun: Queues whose migration was interrupted.
        only: The one object that was requested; None for all.

    Returns:
        Names of exchanges, and of queues, interrupted ones first.

    Raises:
        MigrationError: The requested object needs no migration.
    """
    names = {
        kind: sorted({each.key[1] for each in todo.blocked if each.key[0] == kind})
        for kind in ("exchange", "queue")
    }
    first = sorted(begun)
    queues = [*first, *(name for name in names["queue"] if name not in first)]
    if only is None:
        return names["exchange"], queues
    if only not in {*names["exchange"], *queues}:
        raise MigrationError(
            f"{only} needs no migration: it is as the model wants it, or can be changed in place. "
            f"To migrate: {', '.join([*names['exchange'], *queues]) or 'nothing'}."
        )
    # What was begun is finished in any case: it may still catch messages of the same exchange.
    requested = [name for name in names["queue"] if name == only and name not in first]
    return [name for name in names["exchange"] if name == only], [*first, *requested]


def rebinding(name: str, current: State, desired: State) -> tuple[list[Binding], list[Binding]]:
    """Return the bindings that an exchange of another type needs.

    Args:
        name: Name of the exchange.
        current: What the broker has.
        desired: What it should have.

    Returns:
        Those of the exchange itself: what it had and what it should have, without those of the fleet that led
        to it and that the model no longer has. And those by which another exchange leads to its queues
        instead; they come first.
    """
    declared = bindings(desired)
    queues = {each.destination for each in declared if each.source == name}

    def touches(each: Binding) -> bool:
        return name == each.source or (each.kind, each.destination) == ("exchange", name)

    own = [each for each in declared if touches(each)]
    for each in bindings(current):
        leads_here = each.source != name
        if touches(each) and each not in own and not (leads_here and ("exchange", each.source) in desired):
            own.append(each)
    around = [
        each for each in declared if each.kind == "queue" and each.destination in queues and not touches(each)
    ]
    return own, around


def check_diversion(queue: str, state: State, own_exchanges: Iterable[Key]) -> None:
    """Reject the migration of a queue whose messages an alternate exchange would not catch.

    Args:
        queue: The queue's name.
        state: What the broker has.
        own_exchanges: Keys of the exchanges that are the fleet's.

    Raises:
        MigrationError: With the binding that is in the way.
    """
    movable = set(own_exchanges)
    all_bindings = bindings(state)
    # The queue itself, and exchanges that lead to it and are diverted with it.
    leading = {
        ("exchange", each.source)
        for each in all_bindings
        if (each.kind, each.destination) == ("queue", queue)
    }
    diverted = {("queue", queue), *leading}
    for own in all_bindings:
        if (own.kind, own.destination) != ("queue", queue):
            continue
        if ("exchange", own.source) not in movable:
            raise MigrationError(
                f"Queue {queue} is bound to exchange {own.source}, which isn't the fleet's: its messages "
                "can't be diverted. Remove that binding for the time of the migration."
            )
        exchange = state["exchange", own.source]
        if exchange["arguments"].get("alternate-exchange"):
            raise MigrationError(f"Exchange {own.source} has an alternate exchange of its own (an argument).")
        for other in all_bindings:
            if other.source != own.source or (other.kind, other.destination) in diverted:
                continue
            if overlap(exchange["type"], own.routing_key, other.routing_key):
                raise MigrationError(
                    f"Messages of queue {queue} also go to {other.kind} {other.destination}, by exchange "
                    f"{own.source} with {other.routing_key!r}: they can't be diverted without a second copy "
                    "there. Remove that binding for the time of the migration."
                )


def overlap(kind: str, one: str, other: str) -> bool:
    """Return whether an exchange may send a message to the bindings of two keys at once.

    Args:
        kind: Type of the exchange.
        one: A binding's key.
        other: Another binding's key.

    Returns:
        True if there is such a message, or if the type doesn't let one know.
    """
    if kind == "direct":
        return one == other
    if kind != "topic":
        return True
    return _overlap(tuple(one.split(".")), tuple(other.split(".")))


@lru_cache(maxsize=4096)
def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return all(word == "#" for word in one + other)
    if one[0] == "#":
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == "#":
        return _overlap(one, other[1:]) or _overlap(one[1:], other)
    return ("*" in (one[0], other[0]) or one[0] == other[0]) and _overlap(one[1:], other[1:])


def without_limits(policy: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a queue's policy while messages are moved: nothing is refused or dropped, and there is no limit.

    Args:
        policy: What applies to the queue otherwise.
        name: Name of the queue.

    Returns:
        A policy of a high priority, with the names of RabbitMQ's definitions.
    """
    limits = ("max-length", "max-length-bytes")
    return {
        "pattern": f"^{re.escape(name)}$",
        "apply-to": "queues",
        "priority": PRIORITY,
        "definition": {key: value for key, value in policy.items() if key not in limits},
    }


def with_alternate(exchange: str) -> dict[str, Any]:
    """Return a policy that sets an exchange's alternate one, named like the migration's other objects.

    Args:
        exchange: Name of the exchange.

    Returns:
        A policy of a high priority, with the names of RabbitMQ's definitions.
    """
    return {
        "pattern": f"^{re.escape(exchange)}$",
        "apply-to": "exchanges",
        "priority": PRIORITY,
        "definition": {"alternate-exchange": f"{MIGRATION}{exchange}"},
    }
