"""AMQP's connections and channels as this package has them, on which nothing is awaited for ever."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from amqp import spec
from kombu.transport import pyamqp

# Seconds without a word from the broker in which an answer must have begun. Without an end, a node
# that hangs would hold its clients for ever.
REPLY_TIMEOUT = 10.0


class Channel(pyamqp.Channel):
    """A channel that does not wait for ever, and gives back without a reject."""

    def basic_nack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Return a message to its queue, which py-amqp can do by a reject only.

        RabbitMQ 4.3 counts a reject as a failed delivery, and so what a closed channel leaves. This it does
        not; earlier ones count every delivery that comes back.

        Args:
            delivery_tag: The message; 0 with `multiple` is everything that the channel holds.
            multiple: Whether to return all messages up to this one.
        """
        self.send_method(spec.Basic.Nack, "Lbb", (delivery_tag, multiple, True))

    def wait(
        self,
        method: object,
        callback: Callable[..., object] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> object:
        """Wait for an answer, and give the connection up when it does not come.

        It would be taken for that of the next question, and to close the connection properly is one
        more question to a broker that does not answer.
        """
        connection = self.connection
        try:
            return super().wait(method, callback, timeout or REPLY_TIMEOUT, returns_tuple)
        except TimeoutError:
            if connection is not None:
                connection.collect()
            raise


class Protocol(pyamqp.Connection):
    """A connection of the protocol, whose answers may have to come in time."""

    Channel = Channel

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.process = os.getpid()
        self._answer_by: float | None = None
        _connections[id(self)] = self

    @contextmanager
    def answered_in_time(self, seconds: float = REPLY_TIMEOUT) -> Iterator[None]:
        """Give up what is awaited meanwhile after a time, whatever else the broker sends.

        The time of a single wait begins anew with every frame, and so with every heartbeat.

        Args:
            seconds: The time.
        """
        self._answer_by = time.monotonic() + seconds
        try:
            yield
        finally:
            self._answer_by = None

    def blocking_read(self, timeout: float | None = None) -> object:
        """Read a frame.

        Args:
            timeout: Seconds; none for as long as it takes.

        Raises:
            TimeoutError: None came, or the answer is late.
        """
        if self._answer_by is not None:
            left = self._answer_by - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            timeout = min(timeout or left, left)
        return super().blocking_read(timeout)


_connections: weakref.WeakValueDictionary[int, Protocol] = weakref.WeakValueDictionary()


def drop_inherited() -> None:
    """Close this process's copies of the sockets that another process opened, which keeps its connections."""
    # A list of its own, since other threads may connect meanwhile.
    for connection in filter(None, [reference() for reference in _connections.valuerefs()]):
        transport = connection._transport
        if connection.process != os.getpid() and transport is not None and transport.sock is not None:
            inherited, transport.sock = transport.sock, None
            transport.connected = False
            # Not as the transport closes it, which would tell the broker.
            inherited.close()
