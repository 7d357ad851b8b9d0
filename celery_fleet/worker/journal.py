"""The end of each task in systemd's journal, with fields to look for (see systemd.journal-fields(7))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)

SOCKET = "/run/systemd/journal/socket"

INFO = "6"
ERROR = "3"


class Journal:
    """Writes entries by the journal's own protocol, or as lines of the log where there is no journal.

    Args:
        path: The journal's socket; None where the process does not log to a journal.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Journal:
        """Return the journal if systemd has connected this process's output to it."""
        environment = os.environ if environment is None else environment
        return cls(SOCKET if environment.get("JOURNAL_STREAM") else None)

    def write(self, message: str, *, failed: bool, **fields: str) -> None:
        """Write an entry.

        Args:
            message: What a person reads.
            failed: Whether it is an error.
            fields: Further fields by their names in the journal.
        """
        if self._path is None or not self._send(
            {"MESSAGE": message, "PRIORITY": ERROR if failed else INFO, **fields}
        ):
            logger.log(logging.ERROR if failed else logging.INFO, "%s %s", message, _line(fields))

    def _send(self, fields: Mapping[str, str]) -> bool:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.sendto(b"".join(_field(*field) for field in fields.items()), self._path or "")
        except OSError as error:
            logger.debug("No journal at %s: %s", self._path, error)
            return False
        return True


def _field(name: str, value: str) -> bytes:
    encoded = value.encode()
    if b"\n" not in encoded:
        return name.encode() + b"=" + encoded + b"\n"
    return name.encode() + b"\n" + len(encoded).to_bytes(8, "little") + encoded + b"\n"


def _line(fields: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())
