"""Whether a new instance may take over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# So often an instance that served before may be started again before a run gives it up.
PATIENCE: Final = 3


@dataclass(frozen=True)
class Probation:
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
class Observation:
    """One look at an instance that starts.

    Args:
        active: Whether it has reported to systemd that it is ready.
        failed: Whether systemd has given it up.
        restarts: How often it was started again since the first look.
        state: What it reports; empty if nothing.
        since_start: Seconds since it was started.
        since_ready: Seconds since it was seen ready; none if it was not.
    """

    active: bool
    failed: bool
    restarts: int
    state: Mapping[str, Any]
    since_start: float
    since_ready: float | None


def ready(observation: Observation, waits: bool, new: bool) -> bool:
    """Return whether an instance serves.

    Args:
        observation: What is seen of it.
        waits: Whether its pool's ``rollover`` is ``wait``, so that it may have no room yet.
        new: Whether it is on probation; another only has to be active.
    """
    if not new or not observation.active:
        return observation.active
    state = observation.state
    consumes = state.get("state") == "consuming" or (waits and state.get("slots") == 0)
    return bool(state.get("proved")) and consumes


def verdict(observation: Observation, probation: Probation, waits: bool, new: bool) -> str | None:
    """Judge an instance.

    Args:
        observation: What is seen of it.
        probation: What it must pass.
        waits: Whether its pool's ``rollover`` is ``wait``.
        new: Whether it is on probation; another only has to be active.

    Returns:
        What is wrong with it, nothing if it may serve, none while that is open.
    """
    if observation.failed or observation.restarts >= (1 if new else PATIENCE):
        return "crashed" if new else f"crashed {PATIENCE} times"
    if observation.since_ready is None:
        if ready(observation, waits, new):
            return None if new else ""
        if observation.since_start <= probation.start:
            return None
        obstacle = observation.state.get("obstacle") or observation.state.get("state")
        return f"is not ready after {probation.start:g} s" + (f" ({obstacle})" if obstacle else "")
    executed, failed = observation.state.get("executed", 0), observation.state.get("failed", 0)
    if failed >= probation.failures and 2 * failed > executed:
        return f"failed {failed} of its first {executed} tasks"
    return "" if executed >= probation.tasks or observation.since_ready >= probation.seconds else None
