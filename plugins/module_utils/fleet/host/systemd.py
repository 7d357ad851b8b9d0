"""Commands of systemd, and the keys that an older one does not know."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

SHOWN = "--property=Id,ActiveState,NRestarts"


class SystemdError(Exception):
    """systemd refused a command; the message is its own."""


def call(*command: str) -> str:
    """Run a command, and return its output.

    Args:
        command: The program and its arguments.

    Raises:
        SystemdError: If it fails.
    """
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if process.returncode != 0:
        raise SystemdError(f"{' '.join(command)}: {process.stderr.strip() or process.stdout.strip()}")
    return process.stdout


# Seconds. A file that is written in the second in which its unit starts is not newer.
_SLACK_S: Final = 1.0


def units_and_files(
    files: Mapping[str, Sequence[str]],
) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Read how units are, and which of the files that they read at their start have changed since.

    Args:
        files: By unit the paths of its files.

    Returns:
        By unit what systemd calls ``active`` and ``enabled``; and by unit its newer files.

    Raises:
        SystemdError: systemd does not answer.
    """
    properties = "--property=ActiveState,UnitFileState,InactiveExitTimestampMonotonic"
    printed = call("systemctl", "show", properties, "--", *files) if files else ""
    states, stale = {}, {}
    # systemd's monotonic clock is Python's, and neither jumps when somebody sets the time.
    boot = time.time() - time.monotonic()
    for unit, block in zip(files, filter(None, printed.strip().split("\n\n")), strict=True):
        shown = dict(line.split("=", 1) for line in block.splitlines())
        states[unit] = {"active": shown["ActiveState"], "enabled": shown["UnitFileState"]}
        started = int(shown["InactiveExitTimestampMonotonic"]) / 1e6
        present = [path for path in map(Path, files[unit]) if path.exists()]
        stale[unit] = [
            str(path) for path in present if started and path.stat().st_mtime > boot + started + _SLACK_S
        ]
    return states, stale


# Since when systemd knows a key that an older one would complain of.
_KEYS: Final = {"RestartSteps": 254, "RestartMaxDelaySec": 254}


def for_systemd(text: str, version: int) -> str:
    """Leave out the keys of a unit that a systemd does not know yet.

    Args:
        text: The unit.
        version: systemd's version.
    """
    left_out = tuple(f"{key}=" for key, since in _KEYS.items() if version < since)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(left_out or "\0"))
