"""When a connection is given up whose other end is gone without a word."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from kombu.transport import pyamqp
from support.worker_parts import Clock

from celery_fleet import protocol
from celery_fleet.connection import SOCKET_SETTINGS
from celery_fleet.protocol import REPLY_TIMEOUT, Protocol


def test_an_idle_connection_is_given_up_like_a_busy_one_and_not_for_one_lost_probe() -> None:
    timeout = SOCKET_SETTINGS[socket.TCP_USER_TIMEOUT] / 1000
    idle, interval = SOCKET_SETTINGS[socket.TCP_KEEPIDLE], SOCKET_SETTINGS[socket.TCP_KEEPINTVL]
    # The kernel ends a connection at the first probe that is due when nothing came for this timeout.
    assert idle + 2 * interval == timeout
    assert timeout < REPLY_TIMEOUT


def test_an_answer_is_late_though_heartbeats_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(), list[float | None]()

    def heartbeat(_: object, timeout: float | None = None) -> bool:
        waits.append(timeout)
        clock.forward(4)
        return len(waits) > 5

    monkeypatch.setattr(protocol, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(pyamqp.Connection, "blocking_read", heartbeat)
    opened = Protocol()
    with pytest.raises(TimeoutError), opened.answered_in_time(10):
        opened.drain_events(timeout=10)
    assert waits == [10, 6, 2]
    opened.drain_events(timeout=10)
    assert waits[3:] == [10, 10, 10], "only meanwhile"
