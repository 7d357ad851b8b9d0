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
        new: Whether it has yet to prove itself, and is removed if it does not.
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
        return self.new or self.start or any(found.up or found.enabled for found in self.old)


def steps(
    present: Iterable[Instance],
    wanted: Mapping[str, tuple[str, str] | None],
    drained: Iterable[str] = (),
    restart: bool = False,
) -> list[Step]:
    """Choose what is to be done on a host.

    Args:
        present: Every instance that has a unit there, or runs.
        wanted: Release and digest for each pool, none for a pool that is to go; others stay as they are.
        drained: Pools that are to run nothing.
        restart: Whether even the wanted instance is to be replaced.

    Returns:
        A step for each pool of ``wanted``.
    """
    present, drained = list(present), set(drained)
    return [
        _step(pool, [found for found in present if found.name.pool == pool], asked, pool in drained, restart)
        for pool, asked in sorted(wanted.items())
    ]


def _step(
    pool: str, mine: list[Instance], asked: tuple[str, str] | None, drained: bool, restart: bool
) -> Step:
    running = [found for found in mine if found.state in RUNNING]
    if asked is None:
        return Step(pool, None, False, False, tuple({*running, *(found for found in mine if found.enabled)}))
    if drained:
        # What is enabled stays so: its unit has the condition that keeps it from starting.
        return Step(pool, None, False, False, tuple(found for found in mine if found.up))
    same = [found for found in mine if (found.name.release, found.name.digest) == asked]
    order = sorted(same, key=lambda found: (found.enabled, found.name.number))
    up = [found for found in order if found.up]
    ended = [found for found in order if found.state not in RUNNING]
    if not restart and up:
        serve, new, start = up[-1].name, not up[-1].enabled, False
    elif not restart and ended:
        serve, new, start = ended[-1].name, not ended[-1].enabled, True
    else:
        taken = {found.name.number for found in mine}
        number = min(set(range(1, len(mine) + 2)) - taken)
        serve, new, start = Name(pool, *asked, number), True, True
    others = (found for found in mine if found.name != serve and (found.state in RUNNING or found.enabled))
    return Step(pool, serve, new, start, tuple(others))
