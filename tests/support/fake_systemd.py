"""A systemd without processes: units start, prove themselves, fail and end as a test says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fleet.host.machine import Machine
from fleet.host.names import Name
from fleet.host.systemd import SystemdError

from support.kills import step, unseen

WANTS = "multi-user.target.wants"
PROVED = {"proved": True, "state": "consuming", "slots": 4, "executed": 0, "failed": 0}


class FakeSystemd:
    """Answers the commands of a host, and keeps its clock.

    Attributes:
        host: The host, below a directory of the test.
        states: ``ActiveState`` of each unit that is not inactive.
        restarts: How often each unit was started again by itself.
        lasting: Pools whose instances still run tasks when they are stopped.
        log: The commands that changed something.
    """

    def __init__(self, root: Path) -> None:
        self.host = Machine(root, self, self.now, self.sleep)
        self.states: dict[str, str] = {}
        self.restarts: dict[str, int] = {}
        self.lasting: set[str] = set()
        self.log: list[str] = []
        self.begins: Callable[[str], None] = self.proves
        self.refuses: Callable[[str], bool] = lambda _command: False
        self.clock = 0.0
        for place in (self.host.units / WANTS, self.host.config, self.host.runtime):
            place.mkdir(parents=True)

    def __call__(self, *command: str) -> str:
        """Run a command."""
        line = " ".join(command)
        if self.refuses(line):
            raise SystemdError(f"{line}: refused")
        if command[0] == "journalctl":
            return "the end of a journal"
        if command[0] == "systemd-analyze":
            return ""
        verb, *rest = command[1:]
        names = [word for word in rest if not word.startswith("-")]
        if verb in ("start", "stop", "enable", "disable", "daemon-reload"):
            self.log.append(" ".join([verb, *names]))
        answer: str | None = getattr(self, f"_{verb.strip('-').replace('-', '_')}")(names)
        return answer or ""

    def now(self) -> float:
        """Return the time."""
        return self.clock

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.clock += seconds

    def proves(self, unit: str) -> None:
        """Report that an instance consumes."""
        self.says(unit, **PROVED)

    def says(self, unit: str, **state: Any) -> None:
        """Let an instance say something of itself."""
        self.states[unit] = "active"
        place = self.host.place(unit)
        place.mkdir(exist_ok=True)
        (place / "state.json").write_text(json.dumps({**PROVED, **state}))

    def serves(self, pool: str, release: str, digest: str = "00000000", number: int = 1) -> str:
        """Add an instance that was deployed before, and return its unit."""
        unit = Name(pool, release, digest, number).unit
        (self.host.units / unit).write_text(f"Environment=CELERY_FLEET_POOL={pool}\n")
        self._enable([unit])
        self.proves(unit)
        return unit

    def enabled(self) -> set[str]:
        """Return the units that are started at boot."""
        return {path.name for path in (self.host.units / WANTS).iterdir()}

    def running(self) -> set[str]:
        """Return the units that run, with those that only finish."""
        return set(self.states)

    def ends(self, unit: str) -> None:
        """Let an instance end."""
        self.states.pop(unit)

    def _start(self, names: list[str]) -> None:
        for unit in names:
            assert (self.host.units / unit).is_file(), unit
            if self.states.get(unit) != "failed":
                self.states[unit] = "activating"
            self.begins(unit)

    def _stop(self, names: list[str]) -> None:
        for unit in names:
            name = Name.parse(unit)
            if name and name.pool in self.lasting and unit in self.states:
                self.states[unit] = "deactivating"
            else:
                self.states.pop(unit, None)

    def _enable(self, names: list[str]) -> None:
        for unit in names:
            link = self.host.units / WANTS / unit
            link.unlink(missing_ok=True)
            link.symlink_to(self.host.units / unit)

    def _disable(self, names: list[str]) -> None:
        for unit in names:
            (self.host.units / WANTS / unit).unlink()

    def _show(self, names: list[str]) -> str:
        return "\n\n".join(
            "\n".join(
                [
                    f"Id={unit}",
                    f"ActiveState={self.states.get(unit, 'inactive')}",
                    f"NRestarts={self.restarts.get(unit, 0)}",
                ]
            )
            for unit in names
        )

    def _list_units(self, names: list[str]) -> str:
        return "".join(f"{unit} loaded\n" for unit in self.states if fnmatch(unit, names[0]))

    def _version(self, _names: list[str]) -> str:
        return "systemd 257 (257)\n"

    def _daemon_reload(self, _names: list[str]) -> None: ...

    def _reset_failed(self, names: list[str]) -> None:
        for unit in names:
            if self.states.get(unit) == "failed":
                del self.states[unit]


class LastingSystemd(FakeSystemd):
    """A systemd that outlives the process which asks it; each of its orders counts as a change.

    Args:
        root: Directory that stands for the root of the file system.
        memory: File for what it knows, outside of that directory.
    """

    def __init__(self, root: Path, memory: Path) -> None:
        super().__init__(root)
        self._memory = memory
        self.keep()

    def __call__(self, *command: str) -> str:
        """Run a command."""
        asks = command[0] != "systemctl" or command[1] in ("show", "list-units", "--version")
        if not asks:
            step()
        with unseen():
            self.recall()
            answer = super().__call__(*command)
            if not asks:
                self.keep()
        return answer

    def keep(self) -> None:
        """Write down what it knows."""
        self._memory.write_text(json.dumps([self.states, self.restarts]))

    def recall(self) -> None:
        """Read what it knew last."""
        self.states, self.restarts = json.loads(self._memory.read_text())

    def boot(self) -> None:
        """Start what is enabled, and nothing else, as when the host had no power."""
        self.states.clear()
        for place in (self.host.runtime, self.host.ordered):
            shutil.rmtree(place, ignore_errors=True)
        self.host.runtime.mkdir(parents=True)
        for unit in self.enabled():
            # systemd takes an empty unit for a masked one.
            assert (self.host.units / unit).read_text(), f"{unit} is empty"
            self.proves(unit)
        self.keep()
