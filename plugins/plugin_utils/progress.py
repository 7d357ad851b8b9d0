"""What a run of a playbook has done so far, as the screen shows it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.plan.ranges import host_ranges

from .terminal import harmless, one_line

# Keys of a module's result that list the names of what it changed.
CHANGES = (
    "created",
    "updated",
    "written",
    "exchanged",
    "removed",
    "dropped",
    "joined",
    "forgotten",
    "grown",
)
# Names of one change that are written out; the others are counted.
NAMED = 6


def seconds(duration: float) -> str:
    """Write a duration.

    Args:
        duration: Seconds.

    Returns:
        Such as ``4.2 s`` or ``3 min 20 s``.
    """
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s"


def hosts_text(labels: Iterable[str]) -> str:
    """Write hosts as ranges.

    Args:
        labels: Names, a delegated task's as ``host -> delegate``.

    Returns:
        Such as ``cpu[1:12], io1`` or ``cpu[1:2] -> localhost``.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(labels, key=_natural):
        name, arrow, target = one_line(label).partition(" -> ")
        groups.setdefault(arrow + target, []).append(name)
    return ", ".join(", ".join(host_ranges(names)) + target for target, names in groups.items())


def _natural(name: str) -> list[tuple[int, str]]:
    """Order numbers in names by their value, as results come in no order."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def named(names: Sequence[str]) -> str:
    """Write names, the first few of many.

    Args:
        names: Any names.

    Returns:
        One line.
    """
    listed = ", ".join(one_line(name, 60) for name in names[:NAMED])
    return f"{listed} and {len(names) - NAMED} more" if len(names) > NAMED else listed


def changes_text(result: Mapping[str, Any]) -> str:
    """Return what a module changed.

    Args:
        result: Its result.

    Returns:
        Such as ``created a, b; removed c``; empty if the result has no list of names.
    """
    parts = []
    for key in CHANGES:
        names = result.get(key)
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            parts.append(f"{key} {named(names)}")
    return "; ".join(parts)


def message_text(message: object) -> str | None:
    """Return a message as text.

    Args:
        message: Text, or its lines.

    Returns:
        Text; none if it is something else.
    """
    if isinstance(message, list) and all(isinstance(line, str) for line in message):
        return "\n".join(message)
    return message if isinstance(message, str) else None


def batch_count(sizes: Sequence[int], hosts: int) -> int:
    """Count the batches of a play.

    Args:
        sizes: Sizes of the first batches; the last holds for all that follow.
        hosts: How many hosts the play has.

    Returns:
        The number of batches.
    """
    count = 0
    while hosts > 0:
        size = sizes[min(count, len(sizes) - 1)]
        hosts -= size if size > 0 else hosts
        count += 1
    return count


@dataclass
class Step:
    """A task on the hosts of a play, or of one batch of them."""

    name: str
    uuid: str
    begun: float
    silent: bool = False
    ended: float = 0.0
    pending: dict[str, None] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    ok: dict[str, None] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)
    failed: dict[str, None] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    items: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, list[str]] = field(default_factory=dict)

    @property
    def took(self) -> float:
        """Seconds from the step's begin to its last result."""
        return max(self.ended - self.begun, 0.0)

    def end(self, host: str, now: float) -> None:
        """Record that a host has ended the step.

        Args:
            host: Its name.
            now: Seconds of a monotonic clock.
        """
        self.ended = now
        self.pending.pop(host, None)
        self.waits.pop(host, None)

    def changes(self) -> str:
        """Return which hosts changed, and what on them; hosts with the same changes share an entry."""
        groups: dict[str, list[str]] = {}
        for label, what in sorted(self.changed.items(), key=lambda change: _natural(change[0])):
            groups.setdefault(what, []).append(label)
        return "; ".join(
            f"{hosts_text(labels)} ({what})" if what else hosts_text(labels)
            for what, labels in groups.items()
        )

    def shown(self) -> list[str]:
        """Return the step's messages, with their hosts where these differ."""
        if len(self.messages) == 1:
            return list(self.messages)
        # Hosts end in any order; a person looks for them in theirs.
        ordered = sorted(self.messages.items(), key=lambda message: _natural(message[1][0]))
        return [f"{hosts_text(hosts)}:\n{text}" for text, hosts in ordered]

    def waiting(self, now: float) -> str:
        """Return what the step waits for.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            Its name, the hosts that have not ended, the last report of each, and the time since it began.
        """
        # The main thread may change them meanwhile; a copy is taken at once.
        pending, waits = tuple(self.pending), tuple(self.waits.items())
        reports = "".join(f"; {host}: {text}" for host, text in waits[:3])
        more = f"; and {len(waits) - 3} more" if len(waits) > 3 else ""
        hosts = f": {hosts_text(pending)}" if pending else ""
        return f"{self.name}{hosts} ({max(now - self.begun, 0):.0f} s){reports}{more}"


@dataclass
class Tally:
    """Counts of a play's steps by their outcome."""

    begun: float
    steps: Counter[str] = field(default_factory=Counter)

    def add(self, step: Step) -> None:
        """Count a step that has ended.

        Args:
            step: The step.
        """
        for kind in ("failed", "changed", "ok", "skipped"):
            if getattr(step, kind):
                self.steps[kind] += 1
                return

    def text(self, now: float) -> str:
        """Write the counts on one line.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            Such as ``12 steps unchanged, 3 skipped, 4.2 s``; empty if there was no step.
        """
        words = {"ok": "unchanged", "changed": "changed", "skipped": "skipped", "failed": "failed"}
        counts = [f"{self.steps[kind]} {word}" for kind, word in words.items() if self.steps[kind]]
        return f"{', '.join(counts)} ({seconds(now - self.begun)})" if counts else ""


def tail(text: str, lines: int) -> list[str]:
    """Return the last lines of a program's output.

    Args:
        text: The output.
        lines: The most lines.

    Returns:
        Harmless lines; the first says how many others there were.
    """
    all_lines = harmless(text).strip("\n").splitlines()
    omitted = len(all_lines) - lines
    return [f"… {omitted} lines before", *all_lines[-lines:]] if omitted > 0 else all_lines
