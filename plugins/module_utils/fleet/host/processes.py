"""The processes of a host's units, and what each of them uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .names import PREFIX

_KIB: Final = 1024
_ROOT: Final = Path("/")
# Places in `stat` behind the command's name: the parent, and the start in ticks since the host's (proc(5)).
_PARENT, _STARTED = 1, 19


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        parent: Number of the process that started it.
        started: Seconds from the host's start to its own.
    """

    parent: str
    started: float


def by_unit(root: Path = _ROOT) -> dict[str, list[str]]:
    """Return the numbers of the processes of each of the fleet's units.

    Args:
        root: Where ``proc`` is mounted.
    """
    units: dict[str, list[str]] = {}
    for path in (root / "proc").glob("[0-9]*/cgroup"):
        try:
            names = {part for part in path.read_text().split("/") if part.startswith(PREFIX)}
        except OSError:  # gone meanwhile
            continue
        for unit in {name.strip().partition("\n")[0] for name in names}:
            units.setdefault(unit, []).append(path.parent.name)
    return units


def size(pid: str, root: Path = _ROOT) -> int | None:
    """Return the bytes of a process, with its part of shared memory if that is known; none if it is gone.

    Args:
        pid: Its number.
        root: Where ``proc`` is mounted.
    """
    for name, figure in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        used = _figure(root / "proc" / pid / name, figure)
        if used is not None:
            return used
    return None


def peak(pid: str, root: Path = _ROOT) -> int | None:
    """Return the most bytes that a process has used: its size, and by how much it has shrunk since.

    Args:
        pid: Its number.
        root: Where ``proc`` is mounted.

    Returns:
        Bytes, with its present part of shared memory; none if it is gone.
    """
    now, status = size(pid, root), root / "proc" / pid / "status"
    most, resident = _figure(status, "VmHWM"), _figure(status, "VmRSS")
    if now is None or most is None or resident is None:
        return now
    return now + max(0, most - resident)


def process(pid: str, root: Path = _ROOT) -> Process | None:
    """Return a process, none if it is gone.

    Args:
        pid: Its number.
        root: Where ``proc`` is mounted.
    """
    try:
        fields = (root / "proc" / pid / "stat").read_text().rpartition(")")[2].split()
        return Process(fields[_PARENT], int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return None


def _figure(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(f"{name}:")), None)
