"""Which instances of the pools' workers a host should run, and whether a new one may take over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

PREFIX: Final = "celery-fleet-"
NUMBER: Final = "@n@"
# States of a unit in which it takes tasks, or is about to.
UP: Final = ("active", "activating", "reloading")
RUNNING: Final = (*UP, "deactivating")
# So often an instance that served before may be started again before a run gives it up.
PATIENCE: Final = 3

_UNIT: Final = re.compile(
    rf"{PREFIX}(?P<pool>[^@]+)@(?P<release>.+?)(?:_(?P<digest>[0-9a-f]{{8}})_(?P<number>\d+))?\.service"
)
_IDENTITY: Final = re.compile(
    rf"CELERY_FLEET_INSTANCE=(?P<release>[^_\s]+)_(?P<digest>[0-9a-f]{{8}})_{NUMBER}"
)
# Since when systemd knows a key that an older one would complain of.
_KEYS: Final = {"RestartSteps": 254, "RestartMaxDelaySec": 254}


@dataclass(frozen=True)
class Name:
    """What the name of an instance's unit says; units of kits before this one have no digest."""

    pool: str
    release: str
    digest: str = ""
    number: int = 0

    @classmethod
    def parse(cls, unit: str) -> Name | None:
        """Read the name of a unit; none if it is no instance's.

        Args:
            unit: Name of a unit.
        """
        found = _UNIT.fullmatch(unit)
        return found and cls(
            found["pool"], found["release"], found["digest"] or "", int(found["number"] or 0)
        )

    @property
    def instance(self) -> str:
        """What stands between the at sign and the suffix."""
        return f"{self.release}_{self.digest}_{self.number}" if self.digest else self.release

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return f"{PREFIX}{self.pool}@{self.instance}.service"


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


def identity(text: str) -> tuple[str, str]:
    """Read which release and which digest a rendered unit is of.

    Args:
        text: The unit, with its number still open.

    Returns:
        Release and digest.

    Raises:
        ValueError: If it does not say.
    """
    found = _IDENTITY.search(text)
    if not found:
        raise ValueError(f"the unit has no CELERY_FLEET_INSTANCE=<release>_<digest>_{NUMBER}")
    return found["release"], found["digest"]


def for_systemd(text: str, version: int) -> str:
    """Leave out the keys of a unit that a systemd does not know yet.

    Args:
        text: The unit.
        version: systemd's version.
    """
    left_out = tuple(f"{key}=" for key, since in _KEYS.items() if version < since)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(left_out or "\0"))


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


@dataclass(frozen=True)
class Trial:
    """What a new instance must pass.

    Args:
        start: Seconds until it must be ready.
        seconds: How long its first tasks are watched, at most.
        tasks: How many of them are enough.
        failures: How many must have failed, at least, for a verdict against it.
    """

    start: float
    seconds: float
    tasks: int
    failures: int


@dataclass(frozen=True)
class Seen:
    """What is seen of an instance that starts.

    Args:
        active: Whether systemd has been told that it is ready.
        failed: Whether systemd has given it up.
        restarts: How often it was started again since it is looked at.
        state: What it says of itself; empty if nothing.
        since_start: Seconds since it was started.
        since_ready: Seconds since it was seen ready; none if it was not.
    """

    active: bool
    failed: bool
    restarts: int
    state: Mapping[str, Any]
    since_start: float
    since_ready: float | None


def ready(seen: Seen, waits: bool, new: bool) -> bool:
    """Tell whether an instance serves.

    Args:
        seen: What is seen of it.
        waits: Whether its pool's ``rollover`` is ``wait``, so that it may have no room yet.
        new: Whether it has to prove it; of another it is enough that it is active.
    """
    if not new or not seen.active:
        return seen.active
    state = seen.state
    consumes = state.get("state") == "consuming" or (waits and state.get("slots") == 0)
    return bool(state.get("proved")) and consumes


def verdict(seen: Seen, trial: Trial, waits: bool, new: bool) -> str | None:
    """Judge an instance.

    Args:
        seen: What is seen of it.
        trial: What it must pass.
        waits: Whether its pool's ``rollover`` is ``wait``.
        new: Whether it is on trial; another only has to be active.

    Returns:
        What is wrong with it, nothing if it may serve, none while that is open.
    """
    if seen.failed or seen.restarts >= (1 if new else PATIENCE):
        return "crashed" if new else f"crashed {PATIENCE} times"
    if seen.since_ready is None:
        if ready(seen, waits, new):
            return None if new else ""
        if seen.since_start <= trial.start:
            return None
        obstacle = seen.state.get("obstacle") or seen.state.get("state")
        return f"is not ready after {trial.start:g} s" + (f" ({obstacle})" if obstacle else "")
    executed, failed = seen.state.get("executed", 0), seen.state.get("failed", 0)
    if failed >= trial.failures and 2 * failed > executed:
        return f"failed {failed} of its first {executed} tasks"
    return "" if executed >= trial.tasks or seen.since_ready >= trial.seconds else None


def unfinished(unit: str, state: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """Give the tasks that an instance still runs, for a person.

    Args:
        unit: Its unit.
        state: What it says of itself.
        now: Seconds since the epoch.

    Returns:
        For each its ``unit``, ``task``, ``id``, ``queue``, ``age`` and ``limit`` (seconds).
    """
    return [
        {
            "unit": unit,
            "task": task["name"],
            "id": task["id"],
            "queue": task["queue"],
            "age": max(0, round(now - (task["started"] or now))),
            "limit": task["time_limit"],
        }
        for task in state.get("active", ())
    ]


def unfinished_text(left: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write unfinished work as lines for a person.

    Args:
        left: What ``unfinished`` gave; an entry without a task is a unit that says nothing of its tasks.
    """
    return [
        f"{entry['unit']}: {entry['task']} [{entry['id']}] on {entry['queue']}, runs for {entry['age']} s"
        + (f" of at most {entry['limit']:g}" if entry["limit"] else "")
        if entry.get("task")
        else f"{entry['unit']}: is ending"
        for entry in left
    ]
