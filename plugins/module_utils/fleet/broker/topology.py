"""The broker's topology: everything that must exist in it, derived from the model.

Queues carry their type as an argument, and nothing else that a policy can say, because arguments can never be
changed; every limit is a policy, one for each queue, which can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..findings import Findings
from ..model.host import Host, read_hosts
from ..model.names import BEAT, VERIFY
from ..model.pools import effective_pools
from ..model.read import read_model
from ..model.types import Model, Pool, Queue
from ..plan.derived import consumer_timeout_s
from .delays import DELIVERY, delay_bindings, delay_exchanges, delay_policy, delay_queues, has_delays
from .limits import MIB, delay_bytes, queue_bytes, user_limits
from .objects import (
    VERIFY_KEY,
    binding_of,
    dead_letter_queue,
    exchange_of,
    policy_of,
    queue_of,
    without_doubles,
)
from .rights import ADMINISTRATOR, permissions_of, topic_permissions_of, users

VERIFY_TTL_MS: Final = 60_000
VERIFY_LENGTH: Final = 1000
BEAT_LENGTH: Final = 10_000
# Of answers to verifications, and of the scheduler's notes.
NOTES_BYTES: Final = 64 * MIB
# What a queue of dead letters holds at least. Broken messages must not fill it within minutes, because what
# finds no room there stays in its own queue, and then publishers are refused. Its bytes are bounded, too.
DEAD_LENGTH: Final = 10_000
# How long a queue of RabbitMQ 4.3 waits for a consumer whose node is down or cut off before others get what
# it holds. Its default is a minute; with 3 s it took 3.7 s on three nodes of 4.3.6.
DISCONNECTED_MS: Final = 5000


def topology(raw_model: object, hosts: object, vault_id: str = "") -> dict[str, Any]:
    """Return everything that the broker must hold.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: Every worker host, as ``read_hosts`` takes them; a limit that one of them raises counts
            for the queues that it drains.
        vault_id: Id of the file of secrets, if the broker is to know whose passwords its users have: one
            that the kit does not install has nothing else to tell it.

    Returns:
        The vhost, whether the kit installs the broker and what the users' names begin with there, exchanges,
        queues, bindings, policies, users, permissions, topic permissions, the largest message (bytes) and the
        longest consumer timeout (ms), in plain types.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    limits = user_limits(model.broker)
    timeouts = _timeouts(model, read_hosts(hosts).values(), findings)
    findings.refuse()
    pools = list(model.pools.values())
    delayed = has_delays(pools)
    exchanges = {pool.exchange: exchange_of(pool.exchange, pool.exchange_type) for pool in pools}
    exchanges |= {dead_letter_queue(pool): exchange_of(dead_letter_queue(pool), "fanout") for pool in pools}
    queues = [_queue(pool, queue) for pool in pools for queue in pool.queues.values()]
    room = queue_bytes(pools, model.broker)
    dead = list({dead_letter_queue(pool): pool for pool in pools})
    return {
        "vhost": model.broker.vhost,
        "fleet": model.name,
        "secrets": _known_by(vault_id) if vault_id else "",
        "managed": model.broker.managed,
        "user_prefix": model.broker.user_prefix,
        "exchanges": [
            *exchanges.values(),
            exchange_of(VERIFY, "direct"),
            *(delay_exchanges() if delayed else ()),
        ],
        "queues": [
            *queues,
            *(queue_of(name, "quorum") for name in dead),
            queue_of(VERIFY, "classic"),
            # Its one active consumer is the fleet's scheduler.
            queue_of(BEAT, "quorum", **{"x-single-active-consumer": True}),
            *(delay_queues() if delayed else ()),
        ],
        "bindings": [
            *without_doubles(binding for pool in pools for binding in _bindings(pool, delayed)),
            *(binding_of(name, name, "") for name in dead),
            binding_of(VERIFY, VERIFY, VERIFY_KEY),
            # So that a task and the note that it was sent are one message.
            *(
                binding_of(exchange, BEAT, BEAT)
                for exchange in dict.fromkeys(pool.exchange for pool in pools)
            ),
            *(delay_bindings() if delayed else ()),
        ],
        "policies": [
            *(
                policy_of(queue.name, _limits(pool, queue, timeouts[pool.name], room))
                for pool in pools
                for queue in pool.queues.values()
            ),
            *(policy_of(name, _dead_limits(pools, name, room)) for name in dead),
            policy_of(
                VERIFY,
                {
                    "message-ttl": VERIFY_TTL_MS,
                    "max-length": VERIFY_LENGTH,
                    "max-length-bytes": NOTES_BYTES,
                    "overflow": "drop-head",
                },
            ),
            # The oldest note is needed least, and a note may be delivered as often as necessary.
            policy_of(
                BEAT,
                {
                    "delivery-limit": -1,
                    "consumer-disconnected-timeout": DISCONNECTED_MS,
                    "max-length": BEAT_LENGTH,
                    "max-length-bytes": NOTES_BYTES,
                    "overflow": "drop-head",
                },
            ),
            *((delay_policy(delay_bytes(pools, model.broker)),) if delayed else ()),
        ],
        "users": [
            {**user, "limits": {} if user["name"] == ADMINISTRATOR else limits}
            for user in users(pools, model.flower, model.broker.managed)
        ],
        "permissions": permissions_of(
            pools,
            delayed,
            model.broker.client_control,
            model.flower,
            model.broker.administrator or ADMINISTRATOR,
        ),
        "topic_permissions": topic_permissions_of(pools, delayed),
        "max_message_size": model.broker.max_message_size,
        "consumer_timeout_ms": max(timeouts.values(), default=0) * 1000,
    }


def _known_by(vault_id: str) -> str:
    """Return a hash of what of the id no rotation of passwords changes, which is too long to be guessed."""
    return hashlib.sha256(f"celery-fleet broker {vault_id.partition('-')[0]}".encode()).hexdigest()


def _timeouts(model: Model, hosts: Iterable[Host], findings: Findings) -> dict[str, int]:
    """Return each pool's consumer timeout (seconds), the longest that any host asks for."""
    timeouts = {name: consumer_timeout_s(pool) for name, pool in model.pools.items()}
    counted: set[frozenset[str]] = set()
    for host in hosts:
        profiles = frozenset(host.groups).intersection(model.profiles)
        # Hosts of the same profiles with no fields of their own say the same.
        if not host.pools and profiles in counted:
            continue
        if not host.pools:
            counted.add(profiles)
        pools = effective_pools(model, host, findings)
        for name, pool in pools.items():
            timeouts[name] = max(timeouts.get(name, 0), consumer_timeout_s(pool))
    return timeouts


def _queue(pool: Pool, queue: Queue) -> dict[str, Any]:
    # The only limit that no policy can set.
    priorities = {} if queue.max_priority is None else {"x-max-priority": queue.max_priority}
    return queue_of(queue.name, pool.queue_type, **priorities)


def _bindings(pool: Pool, delayed: bool) -> Iterable[dict[str, Any]]:
    for queue in pool.queues.values():
        yield binding_of(pool.exchange, queue.name, queue.routing_key)
        if not delayed:
            continue
        # A delayed task's key comes back with its delay in front.
        behind = f"#.{queue.routing_key}"
        if pool.exchange_type == "topic":
            # What kombu binds.
            yield binding_of(pool.exchange, queue.name, behind)
            yield binding_of(DELIVERY, pool.exchange, behind, "exchange")
        else:
            # For tasks that were delayed while the exchange was a topic exchange.
            yield binding_of(DELIVERY, queue.name, behind)


def _limits(pool: Pool, queue: Queue, timeout_s: int, room: Mapping[str, int]) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "overflow": queue.overflow,
        "dead-letter-exchange": dead_letter_queue(pool),
        "consumer-timeout": timeout_s * 1000,
        "max-length-bytes": room[queue.name],
    }
    if queue.max_length is not None:
        definition["max-length"] = queue.max_length
    if pool.queue_type == "quorum":
        definition["delivery-limit"] = pool.delivery_limit
        definition["consumer-disconnected-timeout"] = DISCONNECTED_MS
        if queue.overflow == "reject-publish":
            # At-least-once dead-lettering works with reject-publish only.
            definition["dead-letter-strategy"] = "at-least-once"
    return definition


def _dead_limits(pools: Iterable[Pool], name: str, room: Mapping[str, int]) -> dict[str, Any]:
    """Return limits with room for all that the queues behind it may hold, a way back, and no expiry.

    Who rejects a message of a dead-letter queue sends it back by this policy: to the exchange that it came
    from, by its own routing key. The broker moves it in one step, which cannot be half done. There is no
    delivery limit, because looking at a message and giving it back counts as a delivery.
    """
    behind = [pool for pool in pools if dead_letter_queue(pool) == name]
    return {
        "overflow": "reject-publish",
        "delivery-limit": -1,
        "consumer-disconnected-timeout": DISCONNECTED_MS,
        "dead-letter-exchange": behind[0].exchange,
        "dead-letter-strategy": "at-least-once",
        "max-length": dead_letter_length(behind),
        "max-length-bytes": sum(room[queue] for pool in behind for queue in pool.queues),
    }


def dead_letter_length(pools: Iterable[Pool]) -> int:
    """Return how many tasks a queue of dead letters holds.

    Args:
        pools: The pools whose tasks go there.

    Returns:
        As many as may wait in their queues that have a limit, and ``DEAD_LENGTH`` at least.
    """
    return max(sum(queue.max_length or 0 for pool in pools for queue in pool.queues.values()), DEAD_LENGTH)
