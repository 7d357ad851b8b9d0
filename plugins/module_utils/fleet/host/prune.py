"""Remove releases, units and kept texts that nothing needs any more; also a program on each host."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from .host import Host
from .names import PREFIX, pool_of
from .steps import RUNNING
from .systemd import SystemdError


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
    pools = {*known, *(found.name.pool for found in present if found.name.unit in alive)}
    slices = sorted(host.units.glob(f"{PREFIX}*.slice"))
    return [*gone, *(path for path in slices if pool_of(path.name) not in pools)]


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


if __name__ == "__main__":
    here = Host()
    with here.alone():
        for name in prune(here, Path(sys.argv[1]), int(sys.argv[2])):
            print(f"Removed {name}")
