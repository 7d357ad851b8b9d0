"""Commands of systemd, and the keys that an older one does not know."""

from __future__ import annotations

import subprocess
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
