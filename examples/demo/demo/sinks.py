"""Where the demo's tasks arrive in a lab: an HTTP endpoint with the ledger, and a mail server.

Both ask for no password and so are for a lab only. `python -m demo.sinks --address 127.0.0.1` runs them.

    POST /echo                     answers with what was posted
    POST /ledger                   keeps a record of a task that succeeded
    GET  /ledger?after=N&wait=S    the records after the first N, waiting S seconds at most for one
    GET  /summary                  how many tasks each host has run, and how many mails came
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from demo.outside import Json

LIMIT = 1 << 20
"""Bytes that one request or mail may have."""
PATIENCE = 60
"""Seconds that a peer may take for its next line, and a request for records may wait."""


class RefusedError(Exception):
    """A request that can't be answered, with its status and reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Store:
    """What the sinks keep, in a directory of their own.

    Args:
        directory: Where the ledger and the mails are; made if absent.
    """

    directory: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    added: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.mails.mkdir(parents=True, exist_ok=True)
        if self.ledger.exists():
            self.records = [json.loads(line) for line in self.ledger.read_text().splitlines()]

    @property
    def ledger(self) -> Path:
        """The file of records, one JSON object a line."""
        return self.directory / "ledger.jsonl"

    @property
    def mails(self) -> Path:
        """The folder of mails, one file for each Message-ID."""
        return self.directory / "mails"

    async def add(self, record: Json) -> None:
        """Keep a record and tell whoever waits for one."""
        if (
            not isinstance(record, dict)
            or not {"task", "id", "host", "node", "pool", "seconds"} <= record.keys()
        ):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "no record of a task")
        async with self.added:
            with self.ledger.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            self.records.append(record)
            self.added.notify_all()

    async def after(self, count: int, wait: float) -> list[dict[str, Any]]:
        """Return the records after the first `count`, waiting at most `wait` seconds for one."""
        async with self.added:
            try:
                async with asyncio.timeout(min(wait, PATIENCE)):
                    await self.added.wait_for(lambda: len(self.records) > count)
            except TimeoutError:
                return []
            return self.records[count:]

    def summary(self) -> dict[str, Any]:
        """Count what came."""
        return {
            "records": len(self.records),
            "tasks": len({record["id"] for record in self.records}),
            "hosts": Counter(record["host"] for record in self.records),
            "mails": sum(1 for _ in self.mails.glob("*.eml")),
        }

    def keep(self, mail: bytes) -> None:
        """Keep a mail; one that is sent twice has the same Message-ID and is kept once."""
        name = message_from_bytes(mail).get("Message-ID", "").encode() or mail
        (self.mails / f"{hashlib.sha256(name).hexdigest()[:32]}.eml").write_bytes(mail)


async def answer(store: Store, method: str, target: str, body: bytes) -> Json:
    """Answer one HTTP request.

    Raises:
        RefusedError: No such resource, or a body or query that can't be read.
    """
    parts = urlsplit(target)
    try:
        match method, parts.path:
            case "POST", "/echo":
                return json.loads(body)
            case "POST", "/ledger":
                await store.add(json.loads(body))
                return {}
            case "GET", "/ledger":
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                return await store.after(int(query.get("after", 0)), float(query.get("wait", 0)))
            case "GET", "/summary":
                return store.summary()
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
    raise RefusedError(HTTPStatus.NOT_FOUND, f"no {method} {parts.path}")


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    line = (await reader.readline()).decode("ascii").split()
    if len(line) != 3:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "no request line")
    length = 0
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if not 0 <= length <= LIMIT:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LIMIT} bytes")
    return line[0], line[1], await reader.readexactly(length)


async def serve_http(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request on a connection and close it."""
    try:
        async with asyncio.timeout(PATIENCE):
            method, target, body = await _request(reader)
        status, content = HTTPStatus.OK, await answer(store, method, target, body)
    except RefusedError as refusal:
        status, content = refusal.status, {"error": str(refusal)}
    except ValueError as error:
        status, content = HTTPStatus.BAD_REQUEST, {"error": str(error)}
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        writer.close()
        return
    data = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        "Connection: close",
    )
    await _finish(writer, "\r\n".join((*head, "", "")).encode() + data)


async def serve_smtp(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hold one mail session: as much of RFC 5321 as a client needs that sends plainly."""
    sender, recipients = False, 0

    async def line() -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await reader.readuntil(b"\r\n")

    writer.write(b"220 demo sink\r\n")
    try:
        while True:
            await writer.drain()
            command = (await line()).decode("utf-8", "replace").strip()
            verb = command[:4].upper()
            reply = "250 OK"
            if verb in ("EHLO", "HELO", "RSET"):
                sender, recipients = False, 0
            elif re.match(r"MAIL FROM:\s*<.*>", command, re.IGNORECASE):
                sender, recipients = True, 0
            elif re.match(r"RCPT TO:\s*<.+>", command, re.IGNORECASE) and sender:
                recipients += 1
            elif verb == "DATA" and recipients:
                writer.write(b"354 end with a single dot\r\n")
                await writer.drain()
                mail = bytearray()
                while (text := await line()) != b".\r\n":
                    mail += text.removeprefix(b".")
                    if len(mail) > LIMIT:
                        raise ConnectionError("the mail is too large")
                store.keep(bytes(mail))
                sender, recipients = False, 0
            elif verb in ("MAIL", "RCPT", "DATA"):
                reply = "503 bad sequence of commands"
            elif verb == "QUIT":
                await _finish(writer, b"221 bye\r\n")
                return
            elif verb != "NOOP":
                reply = "502 not implemented"
            writer.write(f"{reply}\r\n".encode())
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        writer.close()


async def _finish(writer: asyncio.StreamWriter, data: bytes) -> None:
    try:
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        writer.close()


@asynccontextmanager
async def listening(
    store: Store, address: str, http_port: int, smtp_port: int
) -> AsyncIterator[tuple[int, ...]]:
    """Run both sinks.

    Args:
        store: Where they keep what comes.
        address: Address to listen on.
        http_port: TCP port, 0 for any free one.
        smtp_port: Likewise.

    Returns:
        The two ports.

    Raises:
        OSError: A port is taken, or the address isn't this host's.
    """
    servers = []
    try:
        for handler, port in ((serve_http, http_port), (serve_smtp, smtp_port)):
            servers.append(await asyncio.start_server(partial(handler, store), address, port, limit=LIMIT))
        yield tuple(server.sockets[0].getsockname()[1] for server in servers)
    finally:
        # Not waited for: whoever waits for a record may hold its connection for a minute.
        for server in servers:
            server.close()


def tell_systemd(state: str) -> None:
    """Notify the service manager of a state, if one asked for it (`NOTIFY_SOCKET`)."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + path[1:] if path.startswith("@") else path)
            channel.sendall(state.encode())


async def serve(arguments: argparse.Namespace) -> None:
    """Run both sinks until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = Store(arguments.directory)
    async with listening(store, arguments.address, arguments.http_port, arguments.smtp_port) as ports:
        print("HTTP on port {}, SMTP on port {}".format(*ports), file=sys.stderr)
        tell_systemd("READY=1")
        await stop.wait()


def main() -> None:
    """Run both sinks as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.sinks", description="HTTP and SMTP sinks for a lab."
    )
    parser.add_argument("--address", required=True, help="address to listen on")
    parser.add_argument("--http-port", type=int, default=8025)
    parser.add_argument("--smtp-port", type=int, default=1025)
    parser.add_argument(
        "--directory",
        type=Path,
        default=os.environ.get("STATE_DIRECTORY"),
        required="STATE_DIRECTORY" not in os.environ,
        help="where to keep what comes (default: STATE_DIRECTORY)",
    )
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
