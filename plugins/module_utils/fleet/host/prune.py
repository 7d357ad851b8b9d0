"""Remove releases, units and records that nothing needs any more: one rule for every verb, and a program.

It never removes what runs, what is started at boot, the current release, the newest ones that are to stay,
what a rollback would go back to, or what is being built; and it follows no link.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .environment import CACHE, ENVIRONMENTS, REFERENCE
from .handover import hand_over
from .machine import Machine
from .names import (
    COUNTERS,
    FILES_RECORD,
    LOGS,
    NEEDRESTART,
    OPERATOR,
    ORDERS,
    PREFIX,
    PROGRAM,
    PRUNE,
    ROOT_MARK,
    SHUTDOWN,
    TMPFILES,
    below,
    made_by_kit,
    pool_of,
)
from .pythons import PYTHONS
from .steps import RUNNING
from .systemd import SystemdError

COMPLETE = ".complete"


class InUseError(Exception):
    """Something still runs on a host that is to keep nothing."""


@dataclass(frozen=True)
class Surplus:
    """What nothing needs.

    Attributes:
        units: Files of units and slices.
        releases: Directories of releases.
        environments: Directories of environments and Pythons of which no release is made.
        records: Directories with records of releases that are gone, or go.
        in_use: Names of releases beyond the number that stay because something needs them.
    """

    units: tuple[Path, ...] = ()
    releases: tuple[Path, ...] = ()
    environments: tuple[Path, ...] = ()
    records: tuple[Path, ...] = ()
    in_use: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of units and releases, for a person."""
        return [path.name for path in (*self.units, *self.releases)]


@contextlib.contextmanager
def building(host: Machine, place: Path, environment: str) -> Iterator[None]:
    """Make the directory of a release, and keep it and its environment from being removed while it is built.

    Args:
        host: The host.
        place: The directory; what an earlier attempt left in it is removed.
        environment: Name of the environment that it is made from.
    """
    with host.alone():
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        (place / REFERENCE).write_text(environment)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(directory)


def _is_built(place: Path) -> bool:
    """Return whether a release is being built; a process that was killed has lost its lock."""
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(directory)
    return False


def surplus(host: Machine, root: Path, current: str, keep: int) -> Surplus:
    """Find what nothing needs on a host.

    Args:
        host: The host.
        root: Directory of the application.
        current: Name of the current release.
        keep: How many complete releases stay, the current one among them.
    """
    present = _directories(root / "releases")
    complete = sorted(
        (path for path in present if (path / COMPLETE).exists()),
        key=lambda path: (path / COMPLETE).stat().st_mtime,
        reverse=True,
    )
    others = [path.name for path in complete if path.name != current]
    kept = {current, *others[: max(keep - 1, 0)]}
    needed = {instance.name.release for instance in host.instances()}
    needed |= {release for record in host.served().values() for release in record.values()}
    beyond = [path for path in present if path.name not in kept]
    releases = [
        path for path in beyond if path.name not in needed and (path in complete or not _is_built(path))
    ]
    remaining = {path.name for path in present} - {path.name for path in releases}
    return Surplus(
        units=tuple(surplus_units(host, host.served())),
        releases=tuple(releases),
        environments=tuple(_environments(root, {path for path in present if path not in releases})),
        records=tuple(path for path in _directories(host.config / "units") if path.name not in remaining),
        in_use=tuple(path.name for path in beyond if path.name in needed),
    )


def _environments(root: Path, releases: Iterable[Path]) -> list[Path]:
    """Return the environments and Pythons of which none of some releases is made."""
    references = [path / REFERENCE for path in releases]
    used = {reference.read_text() for reference in references if reference.is_file()}
    present = _directories(root / ENVIRONMENTS)
    unused = [path for path in present if path.name not in used and path.name != CACHE]
    gone = [path for path in present if path in unused or (unused and path.name == CACHE)]
    configurations = [path / "venv" / "pyvenv.cfg" for path in releases]
    homes = " ".join(config.read_text() for config in configurations if config.is_file())
    return gone + [path for path in _directories(root / PYTHONS) if f"{path}/" not in homes]


def _past_orders(host: Machine) -> list[Path]:
    """Return the directories of orders that no instance obeys any more."""
    return [
        path
        for unit in _directories(host.ordered)
        for path in (_directories(unit) if host.place(unit.name).exists() else [unit])
        if path != host.orders(unit.name)
    ]


def _directories(place: Path) -> list[Path]:
    """Return the directories in a place, and no links to some."""
    entries = place.iterdir() if place.is_dir() else ()
    return sorted(path for path in entries if path.is_dir() and not path.is_symlink())


def surplus_units(host: Machine, host_pools: Iterable[str]) -> list[Path]:
    """Find the unit files that nothing needs: of instances that ended, of pools that went.

    Args:
        host: The host.
        host_pools: Pools of the host.
    """
    present = host.instances()
    alive = [instance.name for instance in present if instance.state in RUNNING or instance.enabled]
    units = {name.unit for name in alive}
    pools = {*host_pools, *(name.pool for name in alive)}
    slices = sorted(host.units.glob(f"{PREFIX}*.slice"))
    return [
        *(path for path in host.files() if path.name not in units),
        *(path for path in slices if pool_of(path.name) not in pools),
    ]


def remove_units(host: Machine, files: Iterable[Path]) -> None:
    """Remove files of units and slices, and let systemd forget them."""
    files = list(files)
    for path in files:
        if path.suffix == ".slice":
            host.systemctl("stop", path.name)
        path.unlink()
    if not files:
        return
    if not any(host.units.glob(f"{PREFIX}*.slice")):
        # systemd made it for the pools' slices, and keeps it without any.
        host.systemctl("stop", f"{PREFIX.removesuffix('-')}.slice")
    host.systemctl("daemon-reload")
    # Without it systemd goes on listing those that failed.
    with contextlib.suppress(SystemdError):
        host.systemctl("reset-failed", *(path.name for path in files if path.suffix == ".service"))


def prune(host: Machine, root: Path, current: str, keep: int) -> Surplus:
    """Remove what nothing needs.

    Args:
        host: The host, which is this run's ``alone``.
        root: Directory of the application.
        current: Name of the current release; without one no release is removed.
        keep: How many complete releases stay, the current one among them.

    Returns:
        What was removed.
    """
    hand_over(host)
    mark = root / "releases" / current / COMPLETE
    unneeded = surplus(host, root, current, keep)
    if not (current and mark.exists()):
        unneeded = Surplus(units=unneeded.units)
    else:
        marks = [path / COMPLETE for path in _directories(root / "releases")]
        newest = max((candidate.stat().st_mtime, candidate) for candidate in marks if candidate.exists())[1]
        # Its age tells when a release was current, also after a way back to an older one.
        if newest != mark:
            mark.touch()
    remove_units(host, unneeded.units)
    for path in (*unneeded.releases, *unneeded.environments, *unneeded.records, *_past_orders(host)):
        _remove(path)
    return unneeded


def _remove(place: Path) -> None:
    """Remove a directory, which no longer counts as complete when the first of its files is gone."""
    (place / COMPLETE).unlink(missing_ok=True)
    if place.parent.name == PYTHONS and not place.name.startswith("."):
        # A Python has no mark: it is complete where it is.
        place = place.rename(place.with_name(f".{place.name}"))
    shutil.rmtree(place)


def retire(host: Machine, root: Path, check: bool = False) -> list[str]:
    """Remove everything of the fleet from a host but what tasks wrote.

    Args:
        host: The host, which is this run's ``alone`` unless it only checks.
        root: Directory of the application.
        check: Whether nothing is removed.

    Returns:
        What was removed.

    Raises:
        InUseError: If an instance still runs.
    """
    running = [instance.name.unit for instance in host.instances() if instance.state in RUNNING]
    if running and not check:
        raise InUseError(f"{', '.join(running)} still run")
    units = surplus_units(host, ())
    mine = (*SHUTDOWN, NEEDRESTART, PROGRAM, OPERATOR, LOGS, ORDERS, TMPFILES, COUNTERS)
    own = [below(host.root, path) for path in mine]
    files = [below(host.root, PurePosixPath(path)) for path in _recorded(host)]
    # Another package may use the name.
    roots = [root] if root.is_dir() and made_by_kit([path.name for path in root.iterdir()]) else []
    candidates = (host.units / PRUNE, *own, *files, *roots, host.config)
    paths = [path for path in candidates if path.exists() or path.is_symlink()]
    if not check:
        remove_units(host, units)
        for path in paths:
            if path in roots and not path.is_symlink():
                _remove_root(path)
            else:
                _discard(path)
        for path in own[: len(SHUTDOWN)]:
            with contextlib.suppress(OSError):  # absent, or with drop-ins of others
                path.parent.rmdir()
        # Also if an interrupted run has removed everything.
        host.systemctl("daemon-reload")
    return [str(path) for path in (*units, *paths)]


def _remove_root(root: Path) -> None:
    """Remove an application's directory; the mark that it is the kit's goes last, so a run goes on."""
    mark = root / ROOT_MARK
    mark.touch()
    for name in ("releases", ENVIRONMENTS, PYTHONS):
        for path in _directories(root / name):
            _remove(path)
    for path in root.iterdir():
        if path != mark:
            _discard(path)
    _discard(mark)
    root.rmdir()


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _recorded(host: Machine) -> list[str]:
    """Return the files of the application that a deploy wrote outside of the kit's own directories."""
    record = below(host.root, FILES_RECORD)
    paths: list[str] = json.loads(record.read_text()) if record.is_file() else []
    return paths


if __name__ == "__main__":
    here, application = Machine(), Path(sys.argv[1])
    link = application / "current"
    with here.alone():
        release = link.readlink().name if link.is_symlink() else ""
        for name in prune(here, application, release, int(sys.argv[2])).names:
            print(f"Removed {name}")
