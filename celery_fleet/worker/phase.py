"""What a worker is doing: the one state that the status line, the report and `state.json` are views of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a worker is doing, as `state.json` calls it."""

    STARTING = "starting"
    WAITING = "waiting"
    PAUSED = "paused"
    CONSUMING = "consuming"
    STOPPING = "stopping"


@dataclass
class Condition:
    """The facts that decide the phase. Each is set in one place only.

    Attributes:
        connected: The connection is there and the loop runs over it.
        consuming: The broker has confirmed that it delivers to this worker.
        proved: The execution pool has run its canary.
        ready: systemd was told once that the worker is ready.
        paused: The operator wants no task taken.
        stopping: The worker was told to stop.
        slots: How many tasks may run at once.
        obstacle: Why there is no connection.
    """

    connected: bool = False
    consuming: bool = False
    proved: bool = False
    ready: bool = False
    paused: bool = False
    stopping: bool = False
    slots: int = 0
    obstacle: str = ""

    @property
    def phase(self) -> Phase:
        """What the worker is doing."""
        if self.stopping:
            return Phase.STOPPING
        if not self.connected:
            return Phase.WAITING if self.obstacle or self.ready else Phase.STARTING
        if not self.proved:
            return Phase.STARTING
        return Phase.CONSUMING if self.consuming else Phase.PAUSED

    @property
    def may_consume(self) -> bool:
        """Whether the worker should take tasks now."""
        return self.proved and self.slots > 0 and not (self.stopping or self.paused)

    @property
    def reason(self) -> str:
        """Why it takes no tasks, where that needs a reason."""
        if self.phase is Phase.PAUSED and not self.paused:
            return "no slot is free"
        return self.obstacle
