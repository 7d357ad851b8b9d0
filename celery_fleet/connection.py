"""How this package reaches the broker: by its own user, verified TLS, and any node that answers.

A setting can hold a password or a certificate of the moment only. Here both are read from their files
whenever a connection is made, so that they can be replaced under running workers and clients, and so
that no setting, URL or log has a password in it.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import kombu
from amqp.exceptions import AccessRefused, AMQPError, RecoverableConnectionError
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from celery_fleet import files
from celery_fleet.errors import BrokerRefusedError, FleetFileError, LoginRefusedError
from celery_fleet.fleet import Broker
from celery_fleet.frames import tolerant_frame_handler
from celery_fleet.minors import TLS_MINIMUM
from celery_fleet.nodes import SCHEME, is_suspect
from celery_fleet.protocol import Protocol

PREVIOUS = ".previous"

# Seconds for each step of an attempt to reach a node: TCP, TLS and login. TCP repeats its question after one,
# so a lost packet is no reason to go on to the next node, and a node that many come back to at once has time
# for all. A host that is gone costs this each new connection that begins with it.
CONNECT_TIMEOUT = 3.0

# What TCP does about a peer that is gone without a word (a dead host, a cut line). Data that stays
# unacknowledged for three seconds ends the connection: time for four retransmissions, where py-amqp's
# second has room for two. So does silence for as long on an idle connection, which sends a probe after each
# second without traffic: a worker that has just acknowledged its last task would else notice nothing before
# the next heartbeat, five seconds later. It is this timeout that ends the probing, too, and not their number.
SOCKET_SETTINGS = {
    socket.TCP_USER_TIMEOUT: 3000,  # milliseconds
    socket.TCP_KEEPIDLE: 1,
    socket.TCP_KEEPINTVL: 1,
    socket.TCP_KEEPCNT: 3,
}


class Transport(pyamqp.Transport):
    """Kombu's AMQP transport with the fleet's login and TLS.

    It takes from the transport options `password_file`, and `ca_file` where the fleet has TLS.
    """

    Connection = Protocol

    def establish_connection(self) -> pyamqp.Connection:
        """Connect and log in.

        Returns:
            The connection of py-amqp.

        Raises:
            LoginRefusedError: The broker refuses the password in the file and the one before.
            BrokerRefusedError: The broker refuses the connection for another reason, or a file cannot be
                used. Like all failures to connect, both are tried again by whatever tries again.
        """
        options = dict(self.client.transport_options)
        password_file = options.pop("password_file")
        try:
            tls = self._tls(options.pop("ca_file", None))
            for password in _passwords(password_file):
                try:
                    return self._connect(password, tls, options)
                except AccessRefused as error:
                    refusal = error
        except FleetFileError as error:
            raise BrokerRefusedError(str(error)) from error
        raise LoginRefusedError(self.client.userid, self.client.host, password_file) from refusal

    def _tls(self, ca_file: str | None) -> dict[str, Any] | bool:
        if ca_file is None:
            return False
        files.read_text(ca_file)  # for an error that names the file
        return {
            "ca_certs": ca_file,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": self.client.hostname,
            **TLS_MINIMUM,
        }

    def _connect(
        self, password: str, tls: dict[str, Any] | bool, options: dict[str, Any]
    ) -> pyamqp.Connection:
        client = self.client
        connection = self.Connection(
            host=client.host,
            userid=client.userid,
            password=password,
            login_method="PLAIN",
            virtual_host=client.virtual_host,
            ssl=tls,
            connect_timeout=client.connect_timeout,
            heartbeat=client.heartbeat,
            frame_handler=tolerant_frame_handler,
            **{"socket_settings": SOCKET_SETTINGS, **options},
        )
        connection.client = client
        try:
            connection.connect()
        except AccessRefused:
            connection.collect()
            raise
        except RecoverableConnectionError:
            raise
        except AMQPError as error:
            # For example a virtual host that a node, just started, does not have yet.
            connection.collect()
            raise BrokerRefusedError(f"{client.host} refuses {client.userid}: {error}") from error
        return connection


TRANSPORT_ALIASES[SCHEME] = "celery_fleet.connection:Transport"


def connect(nodes: str | list[str], *args: object, **options: object) -> kombu.Connection:
    """Make Kombu's connection, beginning with the node that is this process's first choice.

    Each process has an order of its own. So clients are spread over all nodes, and those of a node that
    dies over all that are left. A node that this process lost a moment ago comes last.

    Args:
        nodes: The nodes' URLs, or one.
        args, options: What `kombu.Connection` takes.

    Returns:
        The connection, not established yet.
    """
    if not isinstance(nodes, str):
        order = random.Random(f"{socket.gethostname()}:{os.getpid()}")  # noqa: S311 - not for secrets
        nodes = sorted(order.sample(nodes, len(nodes)), key=is_suspect)
    return kombu.Connection(nodes, *args, **options)


def transport_options(
    broker: Broker, password_file: str, connect_timeout: float = CONNECT_TIMEOUT
) -> dict[str, Any]:
    """Return what the transport needs to know.

    Args:
        broker: The broker.
        password_file: The file with the password of the user who connects.
        connect_timeout: Seconds for each step of an attempt to reach a node.

    Returns:
        Options by name; files by their paths only.
    """
    return {
        # Else the publisher would not learn that its message was refused.
        "confirm_publish": True,
        "password_file": password_file,
        "ca_file": broker.ca_file,
        # Seconds for a publisher's first connection, over all attempts. Kombu would give them as long as one
        # of them may take, so that it never came to the second node when the first one's host is gone.
        "connect_retries_timeout": connect_timeout * len(broker.nodes),
        # Seconds between rounds through all nodes; kombu's own begin at two and grow by two.
        "interval_start": 0.2,
        "interval_step": 0.4,
        "interval_max": 2.0,
    }


def _passwords(path: str) -> Iterator[str]:
    """The password, then the one before it, which counts until the broker knows the new one."""
    yield files.read_password(path)
    if os.path.exists(path + PREVIOUS):  # noqa: PTH110 - a path in text, like all from the fleet file
        yield files.read_password(path + PREVIOUS)
