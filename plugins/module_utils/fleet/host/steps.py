"""Which instances of the pools' workers a host should run: the steps from what runs to what should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .names import Name

# States of a unit in which it takes tasks, or is about to.
UP: Final = ("active", "activating", "reloading")
RUNNING: Final = (*UP, "deactivating")


@dataclass(frozen=True)
class Instance:
    """One instance on a host.

    Args:
        name: Its name.
        state: What systemd calls ``ActiveState``.
        enabled: Whether it is started at boot.
        restarts: How often systemd started it again by itself.
    """

    name: Name
    state: str = "inactive"
    enabled: bool = False
    restarts: int = 0

    @property
    def up(self) -> bool:
        """Whether it takes tasks, or is about to."""
        return self.state in UP


@dataclass(frozen=True)
class Step:
    """What is to be done with one pool.

    Args:
        pool: The pool.
        serve: The instance that is to serve; none if the pool is drained or goes.
        new: Whether it is on probation, and is removed if it fails.
        start: Whether it is to be started.
        old: Units that are to be stopped, in any state that is not their end, or only to be disabled.
    """

    pool: str
    serve: Name | None
    new: bool
    start: bool
    old: tuple[Instance, ...]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.new or self.start or any(instance.up or instance.enabled for instance in self.old)


def steps(
    present: Iterable[Instance],
    desired: Mapping[str, tuple[str, str] | None],
    drained: Iterable[str] = (),
    restart: bool = False,
) -> list[Step]:
    """Return what is to be done on a host.

    Args:
        present: Every instance that has a unit there, or runs.
        desired: Release and digest for each pool, none for a pool that is to go; others stay as they are.
        drained: Pools that are to run nothing.
        restart: Whether the desired instance is replaced, too.

    Returns:
        A step for each pool of ``wanted``.
    """
    present, drained = list(present), set(drained)
    return [
        _step(
            pool,
            [instance for instance in present if instance.name.pool == pool],
            identity,
            pool in drained,
            restart,
        )
        for pool, identity in sorted(desired.items())
    ]


def _step(
    pool: str, instances: list[Instance], identity: tuple[str, str] | None, drained: bool, restart: bool
) -> Step:
    running = [instance for instance in instances if instance.state in RUNNING]
    if identity is None:
        return Step(
            pool,
            None,
            False,
            False,
            tuple({*running, *(instance for instance in instances if instance.enabled)}),
        )
    if drained:
        # What is enabled stays so: its unit has the condition that keeps it from starting.
        return Step(pool, None, False, False, tuple(instance for instance in instances if instance.up))
    same = [instance for instance in instances if (instance.name.release, instance.name.digest) == identity]
    order = sorted(same, key=lambda instance: (instance.enabled, instance.name.number))
    up = [instance for instance in order if instance.up]
    ended = [instance for instance in order if instance.state not in RUNNING]
    if not restart and up:
        serve, new, start = up[-1].name, not up[-1].enabled, False
    elif not restart and ended:
        serve, new, start = ended[-1].name, not ended[-1].enabled, True
    else:
        taken = {instance.name.number for instance in instances}
        number = min(set(range(1, len(instances) + 2)) - taken)
        serve, new, start = Name(pool, *identity, number), True, True
    others = (
        instance
        for instance in instances
        if instance.name != serve and (instance.state in RUNNING or instance.enabled)
    )
    return Step(pool, serve, new, start, tuple(others))
