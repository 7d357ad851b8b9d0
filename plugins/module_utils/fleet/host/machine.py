"""A host with the fleet's units: what there is, and how it is changed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import disk, foreign, report
from .names import CONFIG, DRAINED, INSTANCES, LOCK, MARK, ORDERS, RUNTIME, UNITS, Name, below
from .steps import RUNNING, Instance
from .systemd import SHOWN, call


class Machine:
    """The fleet's units and files on this host.

    Args:
        root: Directory that stands for the root of the file system.
        call: Runs a command of systemd and returns its output, as ``systemd.call`` does.
        now: Returns the seconds of a monotonic clock.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        call: Callable[..., str] = call,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.now, self.sleep = now, sleep
        self.root = root
        self.call = call
        self.units = below(root, UNITS)
        self.config = below(root, CONFIG)
        self.marks = below(root, DRAINED)
        self.runtime = below(root, RUNTIME)
        self.ordered = below(root, ORDERS)
        self.lock = below(root, LOCK)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold this host's lock, for which other verbs and removals wait."""
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl.

        Raises:
            SystemdError: If it fails.
        """
        return self.call("systemctl", *arguments)

    def show(self, units: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Return the state of units and how often they were started again."""
        names = list(units)
        states = {}
        if names:
            for block in self.systemctl("show", SHOWN, "--", *names).strip().split("\n\n"):
                value = dict(line.partition("=")[::2] for line in block.splitlines())
                states[value["Id"]] = (value["ActiveState"], int(value.get("NRestarts") or 0))
        return states

    def files(self) -> list[Path]:
        """Return the unit files of instances."""
        paths = (path for path in self.units.glob(INSTANCES) if Name.parse(path.name))
        return sorted(path for path in paths if path.is_file() and MARK in path.read_text())

    def instances(self) -> list[Instance]:
        """Return every instance that has a unit file, is started at boot, or runs."""
        wants = self.units / "multi-user.target.wants"
        enabled = {path.name for path in wants.glob(INSTANCES) if path.is_symlink()}
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend", "--full", INSTANCES)
        loaded = {line.split()[0] for line in listed.splitlines() if line.strip()}
        units = {path.name for path in self.files()} | enabled | loaded
        instances = []
        for unit, (state, restarts) in sorted(self.show(sorted(units)).items()):
            name = Name.parse(unit)
            if name and (state in RUNNING or unit in enabled or (self.units / unit).is_file()):
                instances.append(Instance(name, state, unit in enabled, restarts))
        return instances

    def place(self, unit: str) -> Path:
        """Return the runtime directory of an instance."""
        return self.runtime / unit.removesuffix(".service")

    def state(self, unit: str) -> dict[str, Any]:
        """Return what an instance reports; empty if nothing, or nothing readable."""
        return report.parse(foreign.read(self.place(unit), "state.json"))

    def orders(self, unit: str) -> Path | None:
        """Return the directory of what an instance is told, which only root writes; none if it has ended.

        It is called as the number of the runtime directory, which systemd makes anew at each start and
        keeps over a crash. So orders end with the unit.
        """
        try:
            return self.ordered / unit.removesuffix(".service") / str(self.place(unit).lstat().st_ino)
        except FileNotFoundError:
            return None

    def pause(self, unit: str, paused: bool) -> None:
        """Pause or resume an instance's consumption; one that has ended takes no order."""
        place = self.orders(unit)
        if place and paused:
            self._order(place / "paused", "")
        elif place:
            (place / "paused").unlink(missing_ok=True)

    def slots(self, unit: str) -> int | None:
        """Return how many tasks an instance was ordered to take at once; none without an order."""
        place = self.orders(unit)
        path = place and place / "concurrency"
        return int(path.read_text()) if path and path.exists() else None

    def set_slots(self, unit: str, slots: int) -> None:
        """Order how many tasks an instance takes at once; one that has ended takes no order."""
        if place := self.orders(unit):
            self._order(place / "concurrency", f"{slots}\n")

    def _order(self, path: Path, text: str) -> None:
        """Write an order, which workers of any user can read, whatever the umask of this process is."""
        self.write(path, text, 0o644)
        for directory in (path.parent, path.parent.parent, self.ordered):
            directory.chmod(0o755)

    def drained(self) -> set[str]:
        """Return the pools that are to run nothing here."""
        return {path.name for path in self.marks.glob("[!.]*")}

    def drained_for(self, pool: str) -> str:
        """Return why a pool is to run nothing here; empty if it runs."""
        mark = self.marks / pool
        return mark.read_text().partition(" ")[2].strip() if mark.exists() else ""

    def served(self) -> dict[str, dict[str, str]]:
        """Return for each pool the ``release`` that serves, and which did before (``previous``)."""
        path = self.config / "served.json"
        record: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
        return record

    def serve(self, record: Mapping[str, Mapping[str, str]]) -> None:
        """Write the record of what serves."""
        self.write(self.config / "served.json", json.dumps(record, indent=2, sort_keys=True) + "\n")

    def write(self, path: Path, text: str, mode: int | None = None) -> None:
        """Write a file of the kit's own, so that nobody reads half of it.

        Args:
            path: Its path.
            text: What it is to hold.
            mode: Its mode; by default what the umask leaves.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        # systemd takes an empty unit, which a loss of power may leave, for a masked one.
        disk.write(path, text.encode(), mode)

    def pools(self) -> set[str]:
        """Return the pools that have anything here."""
        return {*self.served(), *(instance.name.pool for instance in self.instances())}
