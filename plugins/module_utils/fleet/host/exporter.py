"""The program that serves a host's metrics over HTTP, by a socket that systemd opens.

It runs without rights: it reads what every worker tells the group, and what the kernel tells everybody. With
a certificate it speaks TLS only, and only with whoever has one of the fleet's authority.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

from .exposition import CONTENT_TYPE
from .machine import Machine
from .scrape import Scrape

# The socket that systemd hands over.
DESCRIPTOR: Final = 3
PATH: Final = "/metrics"
# Seconds that a peer may keep it waiting; peers at a time.
PATIENCE: Final = 10.0
PEERS: Final = 8


class Exporter(HTTPServer):
    """Serves the page, to a few peers at a time.

    Args:
        listening: The socket.
        host: The host.
        certificate: File with the certificate and its key; none: without TLS.
        authority: File with the certificates of those who may ask.
    """

    def __init__(
        self,
        listening: socket.socket,
        host: Machine,
        certificate: Path | None = None,
        authority: Path | None = None,
    ) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.host = host
        self.certificate, self.authority = certificate, authority
        self._peers = threading.BoundedSemaphore(PEERS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """Serve a peer in a thread of its own; one too many is let go."""
        if not self._peers.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:  # noqa: ANN401
        peer: socket.socket = request
        try:
            request.settimeout(PATIENCE)
            if self.certificate is not None:
                peer = self._context().wrap_socket(request, server_side=True)
            self.finish_request(peer, client_address)
        except OSError:  # the peer's: it is slow, gone, or has no certificate of ours
            pass
        finally:
            self._peers.release()
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


class _Handler(BaseHTTPRequestHandler):
    server: Exporter
    server_version, sys_version = "celery-fleet", ""

    def do_GET(self) -> None:
        """Answer with the page."""
        if self.path != PATH:
            self.send_error(404, f"There is only {PATH}")
            return
        certificate = self.server.certificate
        page = Scrape(self.server.host, [certificate] if certificate else []).text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Log nothing of what peers ask for."""


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(prog="celery-fleet-exporter", description=__doc__)
    parser.add_argument("--certificate", type=Path, help="file with the certificate and its key")
    parser.add_argument("--authority", type=Path, help="file with the certificates of those who may ask")
    options = parser.parse_args()
    Exporter(
        socket.socket(fileno=DESCRIPTOR), Machine(), options.certificate, options.authority
    ).serve_forever()


if __name__ == "__main__":
    main()
