"""How much of the broker one queue and one user may take, so that none of them takes it from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..model.types import Broker, Pool
from .delays import DELAY_LEVELS, has_delays

MIB: Final = 1024**2
# A worker of Celery opens up to four channels on one connection, another client one or two.
CHANNELS: Final = 4


def queue_bytes(pools: Iterable[Pool], broker: Broker) -> dict[str, int]:
    """Return the bytes of tasks that each queue may hold.

    All queues, their dead letters and the delays together hold no more than ``max_backlog_mib``. A queue that
    is full of the largest tasks before its share is used leaves the rest to the others.

    Args:
        pools: All pools of the fleet.
        broker: Its broker, which says how much that is.

    Returns:
        Bytes by queue, each enough for one task of the largest size.
    """
    all_pools = list(pools)
    left = broker.max_backlog_mib * MIB
    if has_delays(all_pools):
        left -= DELAY_LEVELS * delay_bytes(all_pools, broker)
    # What dies in a queue has room in another one.
    left //= 2
    wanted = sorted(
        (queue.max_length * broker.max_message_size if queue.max_length else left, queue.name)
        for pool in all_pools
        for queue in pool.queues.values()
    )
    shares: dict[str, int] = {}
    for place, (most, name) in enumerate(wanted):
        shares[name] = max(min(most, left // (len(wanted) - place)), broker.max_message_size)
        left -= shares[name]
    return shares


def delay_bytes(pools: Iterable[Pool], broker: Broker) -> int:
    """Return the bytes of tasks that each queue of the delays may hold: as much as any other of the queues.

    Args:
        pools: All pools of the fleet.
        broker: Its broker.
    """
    queues = 2 * sum(len(pool.queues) for pool in pools) + DELAY_LEVELS
    return max(broker.max_backlog_mib * MIB // queues, broker.max_message_size)


def user_limits(broker: Broker) -> Mapping[str, Any]:
    """Return what RabbitMQ calls the limits of a user.

    Args:
        broker: The fleet's broker.
    """
    return {
        "max-connections": broker.max_connections,
        "max-channels": CHANNELS * broker.max_connections,
    }
