"""Whether a new instance may take over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# So often an instance that served before may be started again before a run gives it up.
PATIENCE: Final = 3


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
    """Return whether an instance serves.

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
