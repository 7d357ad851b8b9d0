"""Figures that follow from a pool alone: timeouts, memory of a child process, processes and threads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Final

from ..model.fields import POOL
from ..model.types import Pool
from .figures import plain_value

# A unit may take its hard limit and a minute to stop.
STOP_MARGIN_S: Final = 60
# And so much more has a shutdown for everything else; systemd itself gives it half an hour.
SHUTDOWN_MARGIN_S: Final = 300
SHUTDOWN_LEAST_S: Final = 1800
# RabbitMQ looks at delivery times once a minute; five give a slow acknowledgement room.
CONSUMER_MARGIN_S: Final = 300
# Less than RabbitMQ's own default gains nothing.
CONSUMER_LEAST_S: Final = 1800
# AMQP has 16 bits for the tasks that a consumer may hold; a worker asks for no more.
LARGEST_PREFETCH: Final = 65_535
KIB_PER_MIB: Final = 1024
# The main process with its own threads; each running task, with helpers such as an encoder.
TASKS_MAIN: Final = 64
TASKS_EACH: Final = 8


def stop_timeout_s(pool: Pool) -> int:
    """Return how long a worker may take to stop: as long as its longest task.

    Args:
        pool: A pool with its effective fields.

    Returns:
        Seconds.
    """
    return pool.time_limit + STOP_MARGIN_S


def shutdown_timeout_s(pools: Iterable[Pool]) -> int:
    """Return how long a reboot or power-off must wait before systemd forces it.

    Args:
        pools: The pools of a host with their effective fields.

    Returns:
        Seconds, not fewer than systemd's own.
    """
    return max([SHUTDOWN_LEAST_S, *(stop_timeout_s(pool) + SHUTDOWN_MARGIN_S for pool in pools)])


def consumer_timeout_s(pool: Pool) -> int:
    """Return how long the broker must wait for an acknowledgement.

    The last task of a prefetch window waits for those before it, each up to the hard limit; with
    autoscale the window is filled for the most processes while the fewest may drain it.

    Args:
        pool: A pool with its effective fields.

    Returns:
        Seconds.
    """
    rounds = pool.prefetch_multiplier
    if pool.autoscale.enabled and pool.autoscale.max and pool.autoscale.min:
        rounds = math.ceil(Fraction(pool.autoscale.max * pool.prefetch_multiplier, pool.autoscale.min))
    return max(rounds * pool.time_limit + CONSUMER_MARGIN_S, CONSUMER_LEAST_S)


def max_memory_per_child_kib(pool: Pool) -> int | None:
    """Return at what size a process of a pool is replaced after its task.

    A process that once took more than a task of its pool needs keeps much of it, and takes it from the
    pool's other tasks.

    Args:
        pool: A pool with its effective fields.

    Returns:
        The demand of one task in KiB; none where tasks share one process or need no memory to speak of.
    """
    if pool.execution != "prefork" or not pool.demand.memory_mib:
        return None
    return math.ceil(pool.demand.memory_mib * KIB_PER_MIB)


def tasks_max(concurrency: int, cores: int) -> int:
    """Return how many processes and threads a pool's slice may hold.

    Numeric libraries and encoders start up to two threads per core in each task, and two releases of a
    pool may run side by side.

    Args:
        concurrency: Tasks that run at once.
        cores: Cores of the host.

    Returns:
        Twice (64 for the main process, and 8 + 2 x cores for each task).
    """
    return 2 * (TASKS_MAIN + concurrency * (TASKS_EACH + 2 * cores))


def pool_fields(pool: Pool) -> dict[str, Any]:
    """Return the effective fields of a pool in plain types.

    Args:
        pool: A pool with its effective fields.

    Returns:
        Its name, and every field as the model writes it.
    """
    return {"name": pool.name} | {name: plain_value(getattr(pool, name)) for name in POOL}
