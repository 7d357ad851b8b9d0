"""Notify systemd of the worker's state, over its notification socket (see sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)

WATCHDOG = "WATCHDOG=1"
STOPPING = "STOPPING=1"

# systemd switches its watchdog off when it begins a stop; but a sign of life that was sent just before and is
# read just after arms it again, and then it kills what still runs (tried with systemd 252 and 257). With this
# it stays off until the next start.
_WATCHDOG_OFF = "WATCHDOG_USEC=0"

# Microseconds of further time that each sign gives to a start that waits for the broker.
START_EXTENSION = "EXTEND_TIMEOUT_USEC=60000000"

# Seconds. Longer than this and the loop that reports would itself be held up.
_SEND_TIMEOUT = 1.0


class Notifier:
    """Sends states to systemd, or nowhere when the process is not a notifying unit.

    Args:
        address: The socket's path; `@` first means an abstract socket. None sends nothing.
        watchdog: Seconds after which systemd takes silence for a hang; None when it does not watch.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self.address = address
        self.watchdog = watchdog
        self._stopping = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """Make a notifier of what systemd put into the environment of this process."""
        environment = os.environ if environment is None else environment
        watchdog = None
        # The variables are inherited by child processes, whom systemd does not watch.
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            microseconds = environment.get("WATCHDOG_USEC", "")
            watchdog = int(microseconds) / 1_000_000 if microseconds.isdecimal() else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog or None)

    def send(self, *states: str) -> None:
        """Send states such as `READY=1`; a failure is logged, since the worker is none the worse.

        `STOPPING=1` switches systemd's watchdog off for the rest of the process; signs of life are left out
        from then on.

        Args:
            states: One assignment each.
        """
        if STOPPING in states:
            self._stopping = True
            states = (*states, _WATCHDOG_OFF)
        if self._stopping:
            states = tuple(each for each in states if each != WATCHDOG)
        if self.address is None or not states:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(_SEND_TIMEOUT)
                connection.sendto("\n".join(states).encode(), address)
        except OSError as error:
            logger.warning("Cannot notify systemd at %s: %s", self.address, error)
