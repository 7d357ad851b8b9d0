"""The broker's topology: everything that must exist in it, derived from the model.

Queues carry their type as an argument and nothing else, because arguments can never be changed; every
limit is a policy, one for each queue, which can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .findings import Findings
from .model import BEAT, DEAD, DELAYED, VERIFY, Model, Pool, Queue, effective_pools, plain, read_model
from .plan import consumer_timeout_s

DELIVERY: Final = f"{DELAYED}delivery"
DELAY_LEVELS: Final = 28
DELAY_ENTRY: Final = f"{DELAYED}{DELAY_LEVELS - 1}"
VERIFY_KEY: Final = "answer"
VERIFY_TTL_MS: Final = 60_000
VERIFY_LENGTH: Final = 1000
BEAT_LENGTH: Final = 10_000
# By this a policy is known as the model's own, and removed when the model has it no more.
POLICY_PREFIX: Final = "celery_fleet."

# What every worker's remote control, gossip and events need; a queue of one process is named by a UUID.
_UUID: Final = "[0-9a-f-]{36}"
CONTROL: Final = (
    rf"celeryev(\.{_UUID})?",
    r"celery\.pidbox",
    r"reply\.celery\.pidbox",
    rf"{_UUID}\.reply\.celery\.pidbox",
)


def topology(raw_model: object, hosts: object) -> dict[str, Any]:
    """Give everything that the broker must hold.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: For each worker host its ``groups`` and ``host_pools``; a limit that one of them raises
            counts for the queues that it drains.

    Returns:
        The vhost, exchanges, queues, bindings, policies, users, permissions, topic permissions and the
        longest consumer timeout (ms), in plain types.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    timeouts = _timeouts(model, hosts, findings)
    findings.refuse()
    pools = list(model.pools.values())
    delayed = has_delays(pools)
    exchanges = {pool.exchange: _exchange(pool.exchange, pool.exchange_type) for pool in pools}
    exchanges |= {_dead(pool): _exchange(_dead(pool), "fanout") for pool in pools}
    queues = [_queue(queue.name, pool.queue_type) for pool in pools for queue in pool.queues.values()]
    dead = list({_dead(pool): pool for pool in pools})
    return {
        "vhost": model.broker.vhost,
        "exchanges": [
            *exchanges.values(),
            _exchange(VERIFY, "direct"),
            *(_delay_exchanges() if delayed else ()),
        ],
        "queues": [
            *queues,
            *(_queue(name, "quorum") for name in dead),
            _queue(VERIFY, "classic"),
            # Its one active consumer is the fleet's scheduler.
            _queue(BEAT, "quorum", **{"x-single-active-consumer": True}),
            *(_delay_queues() if delayed else ()),
        ],
        "bindings": [
            *_unique(binding for pool in pools for binding in _bindings(pool, delayed)),
            *(_binding(name, name, "") for name in dead),
            _binding(VERIFY, VERIFY, VERIFY_KEY),
            # So that a task and the note that it was sent are one message.
            *(_binding(exchange, BEAT, BEAT) for exchange in dict.fromkeys(pool.exchange for pool in pools)),
            *(_delay_bindings() if delayed else ()),
        ],
        "policies": [
            *(
                _policy(queue.name, _limits(pool, queue, timeouts[pool.name]))
                for pool in pools
                for queue in pool.queues.values()
            ),
            *(_policy(name, _dead_limits(pools, name)) for name in dead),
            _policy(
                VERIFY, {"message-ttl": VERIFY_TTL_MS, "max-length": VERIFY_LENGTH, "overflow": "drop-head"}
            ),
            # What was noted first is what is needed least; and a note may change hands as often as it must.
            _policy(BEAT, {"delivery-limit": -1, "max-length": BEAT_LENGTH, "overflow": "drop-head"}),
        ],
        "users": users(pools),
        "permissions": _permissions(pools, delayed),
        "topic_permissions": _topic_permissions(pools) if delayed else [],
        "consumer_timeout_ms": max(timeouts.values(), default=0) * 1000,
    }


def for_broker_version(wanted: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Leave out what a broker of this version does not know.

    RabbitMQ takes the policy key ``consumer-timeout`` from 3.12 on (before that, the broker's own
    setting must cover every queue), and "no delivery limit" needs no key before 4.0.

    Args:
        wanted: What ``topology`` gave.
        version: The broker's version, such as ``3.10.8``.

    Returns:
        The topology for this broker.

    Raises:
        ValueError: If the version does not begin with two numbers.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers:
        raise ValueError(f"{version!r} is not a version of RabbitMQ, such as 4.0.5")
    release = (int(numbers[1]), int(numbers[2]))
    topology_data: dict[str, Any] = plain(wanted)

    def known(key: str, value: object) -> bool:
        if key == "consumer-timeout":
            return release >= (3, 12)
        return not (key == "delivery-limit" and value == -1 and release < (4, 0))

    policies = [
        {
            **policy,
            "definition": {key: value for key, value in policy["definition"].items() if known(key, value)},
        }
        for policy in topology_data["policies"]
    ]
    return {**topology_data, "policies": policies}


def has_delays(pools: Iterable[Pool]) -> bool:
    """Say whether Celery sends delayed tasks through the broker's delay exchanges.

    It does so for every topic exchange as soon as any queue is a quorum queue.

    Args:
        pools: All pools of the fleet.

    Returns:
        Whether the delay exchanges are needed.
    """
    known = list(pools)
    return any(p.queue_type == "quorum" for p in known) and any(p.exchange_type == "topic" for p in known)


def _timeouts(model: Model, hosts: object, findings: Findings) -> dict[str, int]:
    """Give each pool's consumer timeout (seconds), the longest that any host asks for."""
    timeouts = {name: consumer_timeout_s(pool) for name, pool in model.pools.items()}
    data = plain(hosts)
    for host, facts in data.items() if isinstance(data, dict) else ():
        given = facts if isinstance(facts, dict) else {}
        pools = effective_pools(model, host, given.get("groups") or [], given.get("host_pools"), findings)
        for name, pool in pools.items():
            timeouts[name] = max(timeouts.get(name, 0), consumer_timeout_s(pool))
    return timeouts


def _dead(pool: Pool) -> str:
    return f"{pool.exchange}{DEAD}"


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(name: str, kind: str, **arguments: object) -> dict[str, Any]:
    return {
        "name": name,
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": kind, **arguments},
    }


def _binding(source: str, destination: str, key: str, kind: str = "queue") -> dict[str, Any]:
    return {
        "source": source,
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "arguments": {},
    }


def _bindings(pool: Pool, delayed: bool) -> Iterable[dict[str, Any]]:
    for queue in pool.queues.values():
        yield _binding(pool.exchange, queue.name, queue.routing_key)
        if delayed and pool.exchange_type == "topic":
            # What kombu binds for a delayed task, whose key comes back with its delay in front.
            yield _binding(pool.exchange, queue.name, f"#.{queue.routing_key}")
            yield _binding(DELIVERY, pool.exchange, f"#.{queue.routing_key}", "exchange")


def _unique(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _policy(queue: str, definition: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{POLICY_PREFIX}{queue}",
        "pattern": f"^{re.escape(queue)}$",
        "apply_to": "queues",
        "priority": 0,
        "definition": definition,
    }


def _limits(pool: Pool, queue: Queue, timeout_s: int) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "overflow": queue.overflow,
        "dead-letter-exchange": _dead(pool),
        "consumer-timeout": timeout_s * 1000,
    }
    if queue.max_length is not None:
        definition["max-length"] = queue.max_length
    if pool.queue_type == "quorum":
        definition["delivery-limit"] = pool.delivery_limit
        if queue.overflow == "reject-publish":
            # At-least-once dead-lettering works with reject-publish only.
            definition["dead-letter-strategy"] = "at-least-once"
    return definition


def _dead_limits(pools: Iterable[Pool], name: str) -> dict[str, Any]:
    """Room for all that the queues behind it may hold, a way back, and nothing that leaves by itself.

    Who rejects a message of a dead-letter queue sends it back by this policy: to the exchange that it came
    from, by its own routing key. The broker moves it in one step, which cannot be half done. There is no
    delivery limit, because looking at a message and giving it back counts as a delivery.
    """
    behind = [pool for pool in pools if _dead(pool) == name]
    lengths = [queue.max_length for pool in behind for queue in pool.queues.values()]
    return {
        "overflow": "reject-publish",
        "delivery-limit": -1,
        "dead-letter-exchange": behind[0].exchange,
        "dead-letter-strategy": "at-least-once",
        "max-length": sum(length for length in lengths if length is not None) or 10_000,
    }


def worker_user(pool: str) -> str:
    """Name the broker's user that the workers of a pool are."""
    return f"worker_{pool}"


def users(pools: Iterable[Pool]) -> list[dict[str, Any]]:
    """Give the broker's users.

    Args:
        pools: All pools of the fleet.

    Returns:
        Each user's name and tags.
    """
    tags = {"kit": ["administrator"], "monitor": ["monitoring"]}
    workers = [worker_user(pool.name) for pool in pools]
    names = ["kit", *workers, "client", "monitor", "verify", "dead_letters", "beat"]
    return [{"name": name, "tags": tags.get(name, [])} for name in names]


def reached(pool: Pool, pools: Iterable[Pool]) -> list[Pool]:
    """Give the pools that the tasks of a pool may publish to: its own, and those that it calls."""
    return [other for other in pools if pool.calls is None or other.name in (pool.name, *pool.calls)]


def _permissions(pools: Iterable[Pool], delayed: bool) -> list[dict[str, Any]]:
    known = list(pools)
    every = _publishes(known, delayed)
    return [
        _permission("kit", ".*", ".*", ".*"),
        *(_worker_permission(pool, reached(pool, known), delayed) for pool in known),
        _permission("client", "^$", _rights(every), "^$"),
        _permission("monitor", "^$", "^$", "^$"),
        _permission("verify", "^$", _rights(every), _rights([VERIFY])),
        _permission("dead_letters", "^$", "^$", _rights(dict.fromkeys(map(_dead, known)))),
        _permission("beat", "^$", _rights(dict.fromkeys(pool.exchange for pool in known)), _rights([BEAT])),
    ]


def _worker_permission(pool: Pool, callees: Iterable[Pool], delayed: bool) -> dict[str, Any]:
    control = (*CONTROL, rf"{pool.name}_worker(_\d+)?@.+\.celery\.pidbox")
    return _permission(
        worker_user(pool.name),
        _rights([], *control),
        _rights([*_publishes(callees, delayed), VERIFY], *control),
        _rights(pool.queues, *control),
    )


def _publishes(pools: Iterable[Pool], delayed: bool) -> list[str]:
    """Give the exchanges through which tasks reach these pools, at once or delayed."""
    known = list(pools)
    entry = [DELAY_ENTRY] if delayed and any(pool.exchange_type == "topic" for pool in known) else []
    return [*dict.fromkeys(pool.exchange for pool in known), *entry]


def _topic_permissions(pools: Iterable[Pool]) -> list[dict[str, Any]]:
    """Hold workers to their pools' keys in the one exchange through which all delayed tasks go."""
    known = list(pools)
    found = []
    for pool in known:
        callees = [other for other in reached(pool, known) if other.exchange_type == "topic"]
        keys = [re.escape(queue.routing_key) for other in callees for queue in other.queues.values()]
        write = rf"^([01]\.){{{DELAY_LEVELS}}}({'|'.join(keys)})$" if keys else "^$"
        found.append({"user": worker_user(pool.name), "exchange": DELAY_ENTRY, "write": write, "read": "^$"})
    return found


def _permission(user: str, configure: str, write: str, read: str) -> dict[str, Any]:
    return {"user": user, "configure": configure, "write": write, "read": read}


def _rights(names: Iterable[str], *patterns: str) -> str:
    return "^(" + "|".join([*patterns, *map(re.escape, names)]) + ")$"


# kombu's delay exchanges: a chain of topic exchanges and queues, one for each bit of the delay in
# seconds; see kombu/transport/native_delayed_delivery.py, whose declarations these must equal.


def _delay_exchanges() -> list[dict[str, Any]]:
    return [_exchange(name, "topic") for name in (*(f"{DELAYED}{n}" for n in range(DELAY_LEVELS)), DELIVERY)]


def _delay_queues() -> list[dict[str, Any]]:
    return [
        _queue(
            f"{DELAYED}{level}",
            "quorum",
            **{
                "x-overflow": "reject-publish",
                "x-message-ttl": 2**level * 1000,
                "x-dead-letter-exchange": f"{DELAYED}{level - 1}" if level else DELIVERY,
                "x-dead-letter-strategy": "at-least-once",
            },
        )
        for level in range(DELAY_LEVELS)
    ]


def _delay_bindings() -> list[dict[str, Any]]:
    bindings = []
    for level in range(DELAY_LEVELS):
        name = f"{DELAYED}{level}"
        below = f"{DELAYED}{level - 1}" if level else DELIVERY
        skipped = "*." * (DELAY_LEVELS - 1 - level)
        bindings.append(_binding(name, name, f"{skipped}1.#"))
        bindings.append(_binding(name, below, f"{skipped}0.#", "exchange"))
    return bindings
