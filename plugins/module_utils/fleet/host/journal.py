"""The entries of the fleet's units in a host's journal: those of a pool, of a task, or all."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from .names import PREFIX, Name

# The most characters of an entry, and the most entries of one look while they are followed.
LONGEST: Final = 4_000
PORTION: Final = 2_000
# Seconds: how long a look waits for further entries once there is one.
GATHER_S: Final = 0.5
_FIELDS: Final = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT"
# What journalctl says, with exit code 1, where no unit of a name has ever logged.
_NO_UNIT: Final = "No data available"

Entry = dict[str, Any]


class JournalError(Exception):
    """The journal can't be read; the message is journalctl's own."""


@dataclass(frozen=True)
class Query:
    """Which entries are meant.

    Attributes:
        pools: Names of pools; if empty, all units of the fleet.
        ids: Tasks by their ids.
        tasks: Names of tasks, or patterns with ``*`` and ``?``.
        states: How tasks ended.
        earliest: The earliest time, as journalctl takes it; if empty, there is none.
        latest: The latest time, likewise.
    """

    pools: Sequence[str] = ()
    ids: Sequence[str] = ()
    tasks: Sequence[str] = ()
    states: Sequence[str] = ()
    earliest: str = ""
    latest: str = ""

    def arguments(self) -> list[str]:
        """Return the arguments of journalctl."""
        units = [f"{PREFIX}{pool}@*" for pool in self.pools] or [f"{PREFIX}*"]
        arguments = [
            "--quiet",
            "--no-pager",
            "--all",
            "--output=json",
            f"--output-fields={_FIELDS}",
            *(f"--unit={unit}" for unit in units),
        ]
        named = [_whole(id, r"\w-") for id in self.ids] + [_whole(task, r"\w.") for task in self.tasks]
        if named:
            arguments += [f"--grep={'|'.join(named)}", "--case-sensitive=yes"]
        if self.earliest:
            arguments.append(f"--since={self.earliest}")
        if self.latest:
            arguments.append(f"--until={self.latest}")
        return arguments + [f"STATE={state}" for state in self.states]


def _whole(pattern: str, word: str) -> str:
    """Return an expression for a name that is no part of a longer one.

    Args:
        pattern: The name, perhaps with ``*`` and ``?``.
        word: The characters of which such names are made, as a class of an expression has them.
    """
    meant = re.escape(pattern).replace(r"\*", f"[{word}]*").replace(r"\?", f"[{word}]")
    return f"(?<![{word}]){meant}(?![{word}])"


def entry(record: dict[str, Any]) -> Entry:
    """Return what is shown of a record.

    Args:
        record: An entry as journalctl writes it.

    Returns:
        Its ``time`` in microseconds since the epoch, ``unit``, ``pool`` (of a worker; otherwise the unit's
        name without what all have in common), ``priority`` and ``text``.
    """
    # Of an entry about a unit, systemd's own unit is the sender.
    unit = _text(record.get("UNIT") or record.get("_SYSTEMD_UNIT"))
    name = Name.parse(unit)
    text = _text(record.get("MESSAGE"))
    priority = _text(record.get("PRIORITY"))
    return {
        "time": int(record["__REALTIME_TIMESTAMP"]),
        "unit": unit,
        "pool": name.pool if name else unit.removeprefix(PREFIX).removesuffix(".service"),
        "priority": int(priority) if priority.isdigit() else 6,
        "text": text if len(text) <= LONGEST else f"{text[:LONGEST]}…",
    }


def _text(value: object) -> str:
    """Return a field: text, bytes as numbers, or the first of several values."""
    if isinstance(value, list):
        if value and all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        return _text(value[0]) if value else ""
    return "" if value is None else str(value)


def read(query: Query, lines: int) -> tuple[list[Entry], str]:
    """Return the last entries.

    Args:
        query: Which are meant.
        lines: The most entries.

    Returns:
        The entries, the oldest first, and the place in the journal behind them.

    Raises:
        JournalError: It can't be read, or a time is none.
    """
    # Looked up first, so that what comes meanwhile is behind it.
    end = _records(["--quiet", "--no-pager", "--output=json", "--lines=1"])
    records = _records([*query.arguments(), f"--lines={lines}"])
    # With an expression it begins with the newest.
    records.sort(key=lambda record: int(record["__REALTIME_TIMESTAMP"]))
    last = records[-1:] or end[-1:]
    return [entry(record) for record in records], str(last[0]["__CURSOR"]) if last else ""


def _records(arguments: list[str]) -> list[dict[str, Any]]:
    process = subprocess.run(["journalctl", *arguments], env=_environment(), capture_output=True, check=False)  # noqa: S603, S607
    _check(process.returncode, process.stderr)
    return [json.loads(line) for line in process.stdout.splitlines()]


def _environment() -> dict[str, str]:
    """Return an environment in which a clock time means the same on all hosts."""
    return {**os.environ, "TZ": "UTC"}


def _check(returncode: int, stderr: bytes) -> bool:
    """Return whether a unit of the names that are meant has ever logged.

    Raises:
        JournalError: journalctl failed; with 1 it ends if it found nothing, too.
    """
    said = stderr.decode(errors="replace").strip()
    if returncode and said and _NO_UNIT not in said:
        raise JournalError(said)
    return not (returncode and said)


def follow(query: Query, cursor: str, wait: float) -> tuple[list[Entry], str]:
    """Return the entries that come after a place, as soon as there are any.

    Args:
        query: Which are meant; its times are not looked at.
        cursor: The place.
        wait: Seconds to wait for the first.

    Returns:
        The entries, none if none came, and the place behind them.

    Raises:
        JournalError: It can't be read.
    """
    arguments = [*replace(query, earliest="", latest="").arguments(), "--follow", "--no-tail"]
    if cursor:
        arguments.append(f"--after-cursor={cursor}")
    begun = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - no shell
        ["journalctl", *arguments],  # noqa: S607
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            lines = _first_lines(process, wait)
        finally:
            process.kill()
        stderr = process.stderr.read() if process.stderr else b""
        if not _check(max(process.wait(), 0), stderr):
            # It ends at once until the first of these units logs.
            time.sleep(max(begun + wait - time.monotonic(), 0))
    records = [json.loads(line) for line in lines]
    return [entry(record) for record in records], str(records[-1]["__CURSOR"]) if records else cursor


def _first_lines(process: subprocess.Popen[bytes], wait: float) -> list[bytes]:
    """Return the whole lines that a program prints until it pauses or ends."""
    assert process.stdout  # noqa: S101 - it is a pipe
    pipe, printed, until = process.stdout.fileno(), b"", time.monotonic() + wait
    while (left := until - time.monotonic()) > 0 and printed.count(b"\n") < PORTION:
        if not select.select([pipe], [], [], left)[0]:
            break
        part = os.read(pipe, 1 << 16)
        if not part:
            process.wait()
            break
        if b"\n" in part and b"\n" not in printed:
            until = time.monotonic() + GATHER_S
        printed += part
    return printed[: printed.rfind(b"\n") + 1].splitlines()
