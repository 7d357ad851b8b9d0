"""When a connection is given up whose other end is gone without a word."""

from __future__ import annotations

import socket

from celery_fleet.connection import REPLY_TIMEOUT, SOCKET_SETTINGS


def test_an_idle_connection_is_given_up_like_a_busy_one_and_not_for_one_lost_probe() -> None:
    timeout = SOCKET_SETTINGS[socket.TCP_USER_TIMEOUT] / 1000
    idle, interval = SOCKET_SETTINGS[socket.TCP_KEEPIDLE], SOCKET_SETTINGS[socket.TCP_KEEPINTVL]
    # The kernel ends a connection at the first probe that is due when nothing came for this timeout.
    assert idle + 2 * interval == timeout
    assert timeout < REPLY_TIMEOUT
