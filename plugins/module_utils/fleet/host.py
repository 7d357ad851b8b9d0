"""A host with the fleet's units: what there is, and how it is changed. Also runs on the host by itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .instances import PREFIX, RUNNING, Instance, Name

SHOWN = "--property=Id,ActiveState,NRestarts"


class SystemdError(Exception):
    """systemd refused a command; the message is its own."""


def call(*command: str) -> str:
    """Run a command, and give what it prints.

    Args:
        command: The program and its arguments.

    Raises:
        SystemdError: If it fails.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise SystemdError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """The fleet's units and files on this host.

    Args:
        root: Directory that stands for the root of the file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.units = root / "etc/systemd/system"
        self.config = root / "etc/celery-fleet"
        self.runtime = root / "run/celery-fleet"
        self.lock = root / "run/celery-fleet.lock"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs on this host waiting, those of the kit and its own."""
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl.

        Raises:
            SystemdError: If it fails.
        """
        return call("systemctl", *arguments)

    def show(self, units: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Give the state of units and how often they were started again."""
        names = list(units)
        found = {}
        if names:
            for block in self.systemctl("show", SHOWN, "--", *names).strip().split("\n\n"):
                value = dict(line.partition("=")[::2] for line in block.splitlines())
                found[value["Id"]] = (value["ActiveState"], int(value.get("NRestarts") or 0))
        return found

    def files(self) -> list[Path]:
        """Give the unit files of instances."""
        found = self.units.glob(f"{PREFIX}*@?*.service")
        return sorted(path for path in found if path.is_file() and "CELERY_FLEET_POOL=" in path.read_text())

    def instances(self) -> list[Instance]:
        """Give every instance that has a unit file, is started at boot, or runs."""
        wants = self.units / "multi-user.target.wants"
        enabled = {path.name for path in wants.glob(f"{PREFIX}*@*.service") if path.is_symlink()}
        listed = self.systemctl(
            "list-units", "--all", "--plain", "--no-legend", "--full", f"{PREFIX}*@*.service"
        )
        loaded = {line.split()[0] for line in listed.splitlines() if line.strip()}
        units = {path.name for path in self.files()} | enabled | loaded
        found = []
        for unit, (state, restarts) in sorted(self.show(sorted(units)).items()):
            name = Name.parse(unit)
            if name and (state in RUNNING or unit in enabled or (self.units / unit).is_file()):
                found.append(Instance(name, state, unit in enabled, restarts))
        return found

    def place(self, unit: str) -> Path:
        """Give the runtime directory of an instance."""
        return self.runtime / unit.removesuffix(".service")

    def state(self, unit: str) -> dict[str, Any]:
        """Give what an instance says of itself; empty if nothing."""
        try:
            state: dict[str, Any] = json.loads((self.place(unit) / "state.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return state

    def pause(self, unit: str, paused: bool) -> None:
        """Let an instance stop consuming, or begin again. One without a runtime directory has ended."""
        with contextlib.suppress(FileNotFoundError):
            if paused:
                (self.place(unit) / "paused").touch()
            else:
                (self.place(unit) / "paused").unlink()

    def drained(self) -> set[str]:
        """Give the pools that are to run nothing here."""
        return {path.name for path in (self.config / "drained").glob("*")}

    def served(self) -> dict[str, dict[str, str]]:
        """Give for each pool the ``release`` that serves, and which did before (``previous``)."""
        path = self.config / "served.json"
        record: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
        return record

    def serve(self, record: Mapping[str, Mapping[str, str]]) -> None:
        """Write down what serves."""
        path = self.config / "served.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        fresh.replace(path)

    def text(self, release: str, pool: str) -> Path:
        """Give the file that keeps a pool's unit as it was of a release, its number open."""
        return self.config / "units" / release / f"{pool}.service"

    def pools(self) -> set[str]:
        """Give the pools that have anything here."""
        return {*self.served(), *(found.name.pool for found in self.instances())}


def needed(host: Host) -> set[str]:
    """Give the releases that an instance may run, and the one to go back to."""
    kept = {found.name.release for found in host.instances()}
    return kept | {release for record in host.served().values() for release in record.values() if release}


def surplus_releases(host: Host, root: Path, current: str, keep: int) -> tuple[list[str], list[str]]:
    """Find the releases of an application that nothing needs.

    Args:
        host: The host.
        root: Directory of the application.
        current: Name of the current release.
        keep: How many complete releases stay, the current one among them.

    Returns:
        Names of those that may go, and of those beyond the number that are needed.
    """
    releases = root / "releases"
    there = [path for path in releases.iterdir() if path.is_dir()] if releases.is_dir() else []
    complete = [path for path in there if (path / ".complete").exists()]
    complete.sort(key=lambda path: (path / ".complete").stat().st_mtime, reverse=True)
    others = [path.name for path in complete if path.name != current]
    kept = {current, *others[: max(keep - 1, 0)]}
    beyond = sorted(path.name for path in there if path.name not in kept)
    in_use = needed(host)
    return [name for name in beyond if name not in in_use], [name for name in beyond if name in in_use]


def surplus_units(host: Host, known: Iterable[str]) -> list[Path]:
    """Find the unit files that nothing needs: of instances that ended, of pools that went.

    Args:
        host: The host.
        known: Pools of the host.
    """
    present = host.instances()
    alive = {found.name.unit for found in present if found.state in RUNNING or found.enabled}
    gone = [path for path in host.files() if path.name not in alive]
    concrete = {path.name for path in host.files()}
    for path in host.units.glob(f"{PREFIX}*@.service"):
        pool = path.name.removeprefix(PREFIX).removesuffix("@.service")
        # The kit's earlier template; an instance of it needs it as long as it runs.
        of_it = [unit for unit in alive - concrete if unit.startswith(f"{PREFIX}{pool}@")]
        if not of_it and "CELERY_FLEET_POOL=" in path.read_text():
            gone.append(path)
    pools = {*known, *(found.name.pool for found in present if found.name.unit in alive)}
    slices = sorted(host.units.glob(f"{PREFIX}*.slice"))
    return [*gone, *(path for path in slices if path.stem.removeprefix(PREFIX) not in pools)]


def prune_units(host: Host) -> list[str]:
    """Remove what ``surplus_units`` finds.

    Args:
        host: The host.

    Returns:
        Names of the files.
    """
    gone = surplus_units(host, host.served())
    for path in gone:
        if path.suffix == ".slice":
            host.systemctl("stop", path.name)
        path.unlink()
    if gone:
        if not any(host.units.glob(f"{PREFIX}*.slice")):
            # systemd made it for the pools' slices, and keeps it without any.
            host.systemctl("stop", f"{PREFIX.removesuffix('-')}.slice")
        host.systemctl("daemon-reload")
        # Without it systemd goes on listing those that failed.
        failed = [path.name for path in gone if "@" in path.name and "@." not in path.name]
        with contextlib.suppress(SystemdError):
            host.systemctl("reset-failed", *failed)
    return [path.name for path in gone]


def prune(host: Host, root: Path, keep: int) -> list[str]:
    """Remove units and releases that nothing needs any more; for an instance's end.

    Args:
        host: The host.
        root: Directory of the application.
        keep: How many complete releases stay.

    Returns:
        What was removed.
    """
    removed = prune_units(host)
    current = root / "current"
    if current.is_symlink():
        releases, _ = surplus_releases(host, root, current.readlink().name, keep)
        for name in releases:
            # A release without the mark of a complete one may be in the making.
            if (root / "releases" / name / ".complete").exists():
                shutil.rmtree(root / "releases" / name)
                removed.append(name)
    for place in host.config.glob("units/*"):
        if not (root / "releases" / place.name).exists():
            shutil.rmtree(place)
    return removed
