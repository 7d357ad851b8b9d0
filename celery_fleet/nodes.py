"""The broker's nodes: their URLs, what runs there, and which a process lost a moment ago."""

from __future__ import annotations

import time
from urllib.parse import quote

import kombu

from celery_fleet.fleet import Broker

# That of the broker's URLs: by the scheme alone Kombu knows the transport, also when it goes on to the
# next node, and in its pools.
SCHEME = "fleet"
# Seconds in which a node that a connection was lost at is the last choice. From RabbitMQ 4.3 on one that is
# cut off from the others goes on to accept connections, and answers nothing that needs a majority.
SUSPECT_FOR = 60.0

_suspects: dict[str, float] = {}


def suspect(connection: kombu.Connection) -> None:
    """Make the node of a lost connection the last choice of this process for a while.

    Args:
        connection: The connection.
    """
    _suspects[f"{_bracketed(connection.hostname)}:{connection.port}"] = time.monotonic()


def is_suspect(url: str) -> bool:
    """Return whether this process lost a connection to a node a moment ago.

    Args:
        url: The node's URL.
    """
    node = url.rpartition("@")[2].partition("/")[0]
    return time.monotonic() - _suspects.get(node, float("-inf")) < SUSPECT_FOR


def series(connection: kombu.Connection) -> tuple[int, ...]:
    """Return the series of RabbitMQ at the other end of an open connection, such as (4, 3)."""
    version = str(connection.connection.server_properties.get("version", ""))
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def urls(broker: Broker, user: str) -> list[str]:
    """Return the URL of each broker node, without a password.

    Args:
        broker: The nodes and the virtual host.
        user: Who connects.

    Returns:
        One URL a node.
    """
    login, vhost = quote(user, safe=""), quote(broker.vhost, safe="")
    return [f"{SCHEME}://{login}@{_bracketed(node.host)}:{node.port}/{vhost}" for node in broker.nodes]


def _bracketed(host: str) -> str:
    """Return a host as a URL has it, IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host
