"""A host with the fleet's units: what there is, and how it is changed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import foreign, report
from .names import CONFIG, DRAINED, INSTANCES, LOCK, MARK, RUNTIME, UNITS, Name, below
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

    def pause(self, unit: str, paused: bool) -> None:
        """Pause or resume an instance's consumption. One without a runtime directory has ended."""
        if not paused:
            foreign.remove(self.place(unit), "paused")
            return
        with contextlib.suppress(FileNotFoundError):
            foreign.write(self.place(unit), "paused", "")

    def slots(self, unit: str) -> int | None:
        """Return how many tasks an instance was ordered to take at once; none without an order."""
        ordered = (foreign.read(self.place(unit), "concurrency") or b"").strip()
        return int(ordered) if ordered.isdigit() and len(ordered) < 10 else None

    def set_slots(self, unit: str, slots: int) -> None:
        """Order how many tasks an instance takes at once."""
        foreign.write(self.place(unit), "concurrency", f"{slots}\n")

    def drained(self) -> set[str]:
        """Return the pools that are to run nothing here."""
        return {path.name for path in self.marks.glob("*")}

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

    def write(self, path: Path, text: str) -> None:
        """Write a file of the kit's own, so that nobody reads half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        with draft.open("w") as content:
            content.write(text)
            content.flush()
            # systemd takes an empty unit, which a power cut may leave, for a masked one.
            os.fsync(content.fileno())
        draft.replace(path)

    def pools(self) -> set[str]:
        """Return the pools that have anything here."""
        return {*self.served(), *(instance.name.pool for instance in self.instances())}
