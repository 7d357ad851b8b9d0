"""Whose a port of this host is: any local user may listen on one while its server is down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Addresses that nobody reaches from another host.
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING: Final = "0A"


def owners(port: int, tables: Sequence[Path] = _TABLES) -> set[int]:
    """Return the users who listen on a port, on whatever address.

    Args:
        port: The port.
        tables: Sockets as the kernel lists them.

    Returns:
        Their numeric ids; empty if nobody listens.
    """
    found = set()
    for table in tables:
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_, user = line.split()[:8]
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                found.add(int(user))
    return found
