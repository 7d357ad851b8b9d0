"""The worker's consumer: what systemd is told of it, and nothing declared at the broker."""

from __future__ import annotations

from collections.abc import Callable

from amqp.exceptions import ResourceLocked
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import Connection

from celery_fleet.control import UNCONFIRMED
from celery_fleet.notify import Notifier

# Seconds between status texts, and so at most between two signs of life.
REPORT_INTERVAL = 10.0

# Microseconds. How much more time a start gets with each sign that it still waits for the broker.
START_EXTENSION = 60_000_000

# Seconds between rounds through all nodes. Celery's own grow to 30, which would be the pause of a
# worker whose broker was away for some minutes.
RECONNECT = {"interval_start": 1.0, "interval_step": 1.0, "interval_max": 5.0}


class FleetConsumer(Consumer):
    """Celery's consumer, which reports to systemd from its own loop.

    Ready means that the broker has confirmed the consumption of the queues. The watchdog is fed by
    the loop that also handles messages, and while it waits for a broker by the loop that does that;
    so a process that is stuck falls silent, and one without a broker does not. While stopping,
    which may take as long as the longest task, systemd does not watch.
    """

    class Blueprint(Consumer.Blueprint):
        """The start order without the step that would declare the delayed delivery's exchanges.

        Workers may not declare; the broker role has done it. Publishing with a delay is not affected.
        """

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.systemd = Notifier.from_environment()
        self._ready = False
        self._stopping = False
        self._obstacle = ""
        super().__init__(*args, **kwargs)
        # This node's control queue is exclusive. After a crash or a network failure the broker
        # keeps it for the lost connection until heartbeats have failed; Celery would give up at
        # once, although it only has to wait.
        self.connection_errors: tuple[type[Exception], ...] = (
            *self.conninfo.connection_errors,
            ResourceLocked,
        )

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, waiting for a broker as long as it takes, with signs of life meanwhile."""
        ensure = conn.ensure_connection
        self._report_waiting()

        def reporting(
            errback: Callable[..., None], max_retries: int | None, callback: Callable[[], None]
        ) -> Connection:
            def failed(error: Exception, interval: float) -> None:
                self._obstacle = f": {error}"
                errback(error, interval)

            def waiting() -> None:
                self._report_waiting()
                callback()

            return ensure(failed, max_retries, **RECONNECT, callback=waiting)

        conn.ensure_connection = reporting
        return super().ensure_connected(conn)

    def connection_for_write(self, url: object = None, heartbeat: float | None = None) -> Connection:
        """Connect for the worker's events, the only thing that is published from here."""
        connection = self.app.connection_for_write(
            url=url, heartbeat=heartbeat, transport_options=UNCONFIRMED
        )
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Clean up after a lost connection, and remember why it was lost for the status."""
        self._obstacle = f": {exc}"
        super().on_connection_error_after_connected(exc)

    def on_ready(self) -> None:
        """Report readiness from the first round of the loop, after Celery's own last checks."""
        super().on_ready()
        self.call_soon(self._report_ready)

    def stop(self) -> None:
        """Stop consuming, and let systemd know that what follows is the wait for running tasks."""
        self._stopping = True
        self.systemd.send("STOPPING=1", f"STATUS={self._status()}")
        super().stop()

    def _report_ready(self) -> None:
        self._obstacle = ""
        self.systemd.send("READY=1", "WATCHDOG=1", f"STATUS={self._status()}")
        if not self._ready:
            self._ready = True
            # A worker that consumed once has a right to its queues. If one is gone now, or a channel is
            # closed for another reason, then an operator is at work: it tries until it is served again.
            self.connection_errors += self.channel_errors
            interval = min(REPORT_INTERVAL, (self.systemd.watchdog or REPORT_INTERVAL) / 3)
            # The timer of gevent workers runs beside the loop: it only asks the loop to report.
            self.timer.call_repeatedly(interval, self.call_soon, (self._report,))

    def _report(self) -> None:
        self.systemd.send("WATCHDOG=1", f"STATUS={self._status()}")

    def _report_waiting(self) -> None:
        states = ["WATCHDOG=1", f"STATUS=Waiting for the broker{self._obstacle}"]
        if not self._ready:
            states.append(f"EXTEND_TIMEOUT_USEC={START_EXTENSION}")
        self.systemd.send(*states)

    def _status(self) -> str:
        active = len(state.active_requests)
        if self._stopping:
            return f"Stopping: {active} active"
        waiting = len(state.reserved_requests) - active
        return f"Consuming: {active} active, {waiting} reserved"
