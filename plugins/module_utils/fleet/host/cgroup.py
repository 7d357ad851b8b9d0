"""Control groups, version 1 and 2: what a container may use of its host, and what was killed for memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

MIB: Final = 1024 * 1024
# Version 1 writes "no limit" as the largest number of whole pages.
NO_LIMIT: Final = 2**62
# Of which the kernel measures for how long somebody has waited.
RESOURCES: Final = ("cpu", "memory", "io")


def limits(root: Path = Path("/")) -> dict[str, float | int | None]:
    """Read the limits of the control groups above everything that the host's init starts.

    A group's limits apply to all groups below it, so the smallest on the way up applies.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.

    Returns:
        ``cores`` and ``memory_mib``; none where there is no limit.
    """
    cores: list[float] = []
    memory: list[int] = []
    for directory in _groups(root):
        cores += _cores(directory)
        memory += _memory(directory)
    return {
        "cores": min(cores, default=None),
        "memory_mib": min(memory) // MIB if memory else None,
    }


def oom_kills(process: str, group: str, root: Path = Path("/")) -> int | None:
    """Count the processes that the kernel has killed in a group because its memory was used up.

    Args:
        process: Number of a process somewhere below the group.
        group: The group's own name, such as that of a slice.
        root: Where ``proc`` and ``sys`` are mounted.

    Returns:
        Their number since the group was made; none if the kernel does not tell.
    """
    for directory in _groups(root, process):
        if directory.name != group:
            continue
        # Version 1 counts in each group those that were in itself, version 2 those below it, too.
        files = [directory / "memory.events", *sorted(directory.rglob("memory.oom_control"))]
        lines = [line.split() for file in files for line in _read(file).splitlines()]
        found = [int(line[1]) for line in lines if line[0] == "oom_kill"]
        if found:
            return sum(found)
    return None


@dataclass(frozen=True)
class Usage:
    """What a pool uses of its budget; none where the kernel does not tell.

    Attributes:
        memory: Bytes, without what the kernel can drop at once.
        memory_peak: The most bytes so far.
        memory_high: Bytes from which its processes are slowed; none: never.
        memory_max: Bytes from which they are killed; none: never.
        slowed: How often they were slowed.
        cpu_seconds: Of processors.
        pressure: Seconds in which one of them waited, by resource.
    """

    memory: int | None = None
    memory_peak: int | None = None
    memory_high: int | None = None
    memory_max: int | None = None
    slowed: int | None = None
    cpu_seconds: float | None = None
    pressure: Mapping[str, float] = field(default_factory=dict)


def usage(process: str, group: str, root: Path = Path("/")) -> Usage:
    """Read what a group uses.

    Args:
        process: Number of a process somewhere below the group.
        group: The group's own name, such as that of a slice.
        root: Where ``proc`` and ``sys`` are mounted.
    """
    # Version 1 has a group for each resource.
    files = {
        path.name: path
        for directory in _groups(root, process)
        if directory.name == group
        for path in directory.iterdir()
        if path.is_file()
    }

    def number(*names: str) -> int | None:
        texts = [_read(files[name]) for name in names if name in files]
        return next((int(text) for text in texts if text.isdigit() and int(text) < NO_LIMIT), None)

    def table(name: str) -> dict[str, str]:
        lines = _read(files[name]).splitlines() if name in files else []
        return {key: value for key, _, value in (line.partition(" ") for line in lines)}

    memory, stat = number("memory.current", "memory.usage_in_bytes"), table("memory.stat")
    droppable = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    microseconds, nanoseconds = table("cpu.stat").get("usage_usec"), number("cpuacct.usage")
    slowed = table("memory.events").get("high")
    waited = {resource: table(f"{resource}.pressure").get("some", "") for resource in RESOURCES}
    return Usage(
        memory=None if memory is None else max(0, memory - droppable),
        memory_peak=number("memory.peak", "memory.max_usage_in_bytes"),
        memory_high=number("memory.high"),
        memory_max=number("memory.max", "memory.limit_in_bytes"),
        slowed=None if slowed is None else int(slowed),
        cpu_seconds=int(microseconds) / 1e6
        if microseconds
        else None
        if nanoseconds is None
        else nanoseconds / 1e9,
        pressure={
            resource: int(text.rpartition("total=")[2]) / 1e6 for resource, text in waited.items() if text
        },
    )


def _groups(root: Path, process: str = "1") -> Iterator[Path]:
    """Return the groups of a process, from each hierarchy's own up to its mount."""
    paths = {
        name: PurePosixPath(path)
        for line in _read(root / "proc" / process / "cgroup").splitlines()
        for _, names, path in [line.split(":", 2)]
        for name in names.split(",")
    }
    for line in _read(root / "proc/self/mountinfo").splitlines():
        place, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        names = {"cgroup": {"cpu", "memory"} & set(options.split(",")), "cgroup2": {""}}.get(kind, set())
        if not names & paths.keys():
            continue
        shown, mount = place.split()[3:5]
        group = paths[min(names & paths.keys())]
        # Below the mount as far as it is shown there; init's own scope is beside what it starts.
        inside = group.relative_to(shown) if group.is_relative_to(shown) else PurePosixPath()
        if inside.name == "init.scope":
            inside = inside.parent
        top = root / mount.lstrip("/")
        for below in (inside, *inside.parents) if ".." not in inside.parts else (PurePosixPath(),):
            yield top / below


def _cores(group: Path) -> list[float]:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    return [round(int(quota) / int(period), 2)] if quota.isdigit() and period.isdigit() else []


def _memory(group: Path) -> list[int]:
    texts = [_read(group / name) for name in ("memory.max", "memory.limit_in_bytes")]
    return [int(text) for text in texts if text.isdigit() and int(text) < NO_LIMIT]


def _read(path: Path) -> str:
    """Return a file's text, empty where there is none (the root group has no limits)."""
    return path.read_text().strip() if path.is_file() else ""
