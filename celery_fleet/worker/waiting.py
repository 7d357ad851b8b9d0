"""Connections of a worker that go on with its work while they wait: for a broker, or for a message."""

from __future__ import annotations

from collections.abc import Callable

from kombu import Connection

# Seconds between rounds through all nodes. Celery's own grow to 30, which would be the pause of a
# worker whose broker was away for some minutes.
RECONNECT = {"interval_start": 1.0, "interval_step": 1.0, "interval_max": 5.0}


def wait_with_rounds(
    connection: Connection, every_round: Callable[[], None], failed: Callable[[Exception], None]
) -> None:
    """Make a connection wait for a broker as long as it takes.

    Args:
        connection: The connection, which is not established yet.
        every_round: Called now, and about once a second while it waits.
        failed: Called with the reason of each attempt that failed.
    """
    ensure = connection.ensure_connection

    def ensure_connection(
        errback: Callable[..., None], max_retries: int | None, callback: Callable[[], None]
    ) -> Connection:
        def note(error: Exception, interval: float) -> None:
            failed(error)
            errback(error, interval)

        def waiting() -> None:
            every_round()
            callback()

        return ensure(note, max_retries, **RECONNECT, callback=waiting)

    every_round()
    connection.ensure_connection = ensure_connection


class PollingConnection:
    """A connection whose loop without a hub, that of greenlets, comes round often enough for control.

    Args:
        connection: The connection.
        every_round: Called before each wait for messages.
        interval: Seconds that a wait takes at most.
    """

    def __init__(self, connection: Connection, every_round: Callable[[], None], interval: float) -> None:
        self._connection = connection
        self._every_round = every_round
        self._interval = interval

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def drain_events(self, timeout: float) -> object:
        """Handle what arrives, for a short time."""
        self._every_round()
        return self._connection.drain_events(timeout=min(timeout, self._interval))
