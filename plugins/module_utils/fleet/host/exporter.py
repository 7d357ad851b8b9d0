"""The program that serves a host's metrics over HTTP, by a socket that systemd opens.

It runs without rights: it reads what every worker tells the group, and what the kernel tells everybody. It
answers this host and those that it is told of, and with a certificate only those who have one of the fleet's
authority, too. When the kit brings another program it ends, and systemd starts that one.
"""

from __future__ import annotations

import argparse
import contextlib
import http
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

from .exposition import CONTENT_TYPE
from .machine import Machine
from .names import NODE_PATH
from .scrape import Scrape

# The socket that systemd hands over.
DESCRIPTOR: Final = 3
PATH: Final = "/metrics"
# Seconds that a peer may keep it waiting; peers at a time.
PATIENCE: Final = 10.0
PEERS: Final = 8
# Bytes of node exporter's page at most.
LARGEST: Final = 16 * 1024 * 1024


class Exporter(HTTPServer):
    """Serves the page, to a few peers at a time.

    Args:
        listening: The socket.
        host: The host.
        peers: Addresses, networks and names of those who may ask, beside this host.
        certificate: File with the certificate and its key; none: without TLS.
        authority: File with the certificates of those who may ask.
        node: Socket of node exporter; none: its figures are not served.
    """

    def __init__(
        self,
        listening: socket.socket,
        host: Machine,
        peers: Sequence[str] = (),
        certificate: Path | None = None,
        authority: Path | None = None,
        node: Path | None = None,
    ) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.host = host
        self._peers, self._free = peers, threading.BoundedSemaphore(PEERS)
        self.certificate, self.authority = certificate, authority
        self.node = node

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """Serve a peer in a thread of its own; one too many is let go."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address)).start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:  # noqa: ANN401
        peer: socket.socket = request
        try:
            if not is_allowed(client_address[0], self._peers):
                return
            request.settimeout(PATIENCE)
            if self.certificate is not None:
                peer = self._context().wrap_socket(request, server_side=True)
            self.finish_request(peer, client_address)
        except OSError:  # the peer's: it is slow, gone, or has no certificate of ours
            pass
        finally:
            self._free.release()
            with contextlib.suppress(OSError):
                self.shutdown_request(peer)

    def _context(self) -> ssl.SSLContext:
        """Read the files anew, which a rotation replaces."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.certificate))
        context.load_verify_locations(str(self.authority))
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def is_allowed(address: str, peers: Sequence[str]) -> bool:
    """Return whether an address may ask.

    Args:
        address: The address.
        peers: Addresses, networks and names.
    """
    asking = ipaddress.ip_address(address.partition("%")[0])
    asking = getattr(asking, "ipv4_mapped", None) or asking
    return asking.is_loopback or any(asking in network for peer in peers for network in _networks(peer))


def _networks(peer: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return what an address or a network is, or what a name means now."""
    try:
        return [ipaddress.ip_network(peer, strict=False)]
    except ValueError:
        pass
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(peer, None)}
    except OSError:
        return []
    return [ipaddress.ip_network(address.partition("%")[0]) for address in found]


class _Handler(BaseHTTPRequestHandler):
    server: Exporter
    server_version, sys_version = "celery-fleet", ""

    def do_GET(self) -> None:
        """Answer with a page."""
        if self.path == PATH:
            certificate = self.server.certificate
            page = Scrape(self.server.host, [certificate] if certificate else []).text().encode()
        elif self.path == NODE_PATH and self.server.node:
            try:
                page = _of_node(self.server.node)
            except (OSError, http.client.HTTPException):
                self.send_error(502, "Node exporter does not answer")
                return
        else:
            self.send_error(404, f"There is only {PATH}")
            return
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Log nothing of what peers ask for."""


class _ToSocket(http.client.HTTPConnection):
    """A connection to a server of this host, by its socket.

    Args:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def _of_node(path: Path) -> bytes:
    """Return node exporter's page.

    Args:
        path: Its socket.

    Raises:
        OSError: It does not answer.
        http.client.HTTPException: It answers with something else.
    """
    with contextlib.closing(_ToSocket(path)) as connection:
        connection.request("GET", PATH, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        page = answer.read(LARGEST)
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(answer.status)
        return page


def main() -> None:
    """Serve until there is another program."""
    parser = argparse.ArgumentParser(prog="celery-fleet-exporter", description=__doc__)
    parser.add_argument("--allow", action="append", default=[], help="address, network or name that may ask")
    parser.add_argument("--certificate", type=Path, help="file with the certificate and its key")
    parser.add_argument("--authority", type=Path, help="file with the certificates of those who may ask")
    parser.add_argument("--node", type=Path, help="socket of node exporter")
    options = parser.parse_args()
    listening = socket.socket(fileno=DESCRIPTOR)
    exporter = Exporter(
        listening, Machine(), options.allow, options.certificate, options.authority, options.node
    )
    program = Path(__file__).parent
    begun = program.stat().st_mtime_ns
    while program.stat().st_mtime_ns == begun:
        exporter.handle_request()


if __name__ == "__main__":
    main()
