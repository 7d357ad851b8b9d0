"""Whose a port is."""

import os
import socket

import pytest
from fleet.host.listeners import owners


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_is_its_listeners(family):
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("there is no IPv6")
        port = server.getsockname()[1]
        assert owners(port) == set(), "it does not listen yet"
        server.listen()
        assert owners(port) == {os.getuid()}
        with socket.create_connection((address, port)) as client:
            assert owners(client.getsockname()[1]) == set(), "a connection's own port"
    assert owners(port) == set()
