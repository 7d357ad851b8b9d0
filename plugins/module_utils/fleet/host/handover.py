"""The move from one Unix user for all pools of a host to one for each.

Instances of an earlier kit go on as its user until they have ended, and a rollback starts such instances
again. So what they wrote is opened to the pools' users, and what they will write is open from the start.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .machine import Machine
from .names import STATE, USER
from .systemd import SystemdError

# What an earlier kit wrote into its units, and what takes its place.
_CLOSED: Final = {"UMask=0027": "UMask=0007", "StateDirectoryMode=0750": "StateDirectoryMode=0770"}
_WRITABLE: Final = re.compile(r"^ReadWritePaths=(/.*)$", re.MULTILINE)
_AS_USER: Final = (f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs")
_GROUP_AS_USER: Final = ("-exec", "chmod", "g=u", "--", "{}", "+")


def hand_over(host: Machine) -> None:
    """Open to the pools' users what instances that run as the application's user wrote, and will write.

    Args:
        host: The host, which is this run's ``alone``.

    Raises:
        SystemdError: systemd does not read the changed units.
    """
    instances = _old(host.files())
    for path, text in {**instances, **_old(host.config.glob("units/*/*.service"))}.items():
        opened = "\n".join(_CLOSED.get(line, line) for line in text.split("\n"))
        if opened != text:
            host.write(path, opened)
    if instances:
        host.systemctl("daemon-reload")
        _open(host, {str(STATE), *_WRITABLE.findall("\n".join(instances.values()))})


def _old(units: Iterable[Path]) -> dict[Path, str]:
    """Return the texts of those units whose processes are the application's user."""
    texts = {path: path.read_text() for path in units}
    return {path: text for path, text in texts.items() if f"User={USER}" in text.split("\n")}


def _open(host: Machine, places: Iterable[str]) -> None:
    """Let the group do with files of the application's user what that user may, as that user."""
    own = ["-user", USER, "-group", USER, "!", "-type", "l"]
    with contextlib.suppress(SystemdError):  # a place is gone, or has what this user may not read
        host.call("setpriv", *_AS_USER, "find", *sorted(places), *own, *_GROUP_AS_USER)
