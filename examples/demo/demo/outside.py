"""Work that waits for others: an HTTP endpoint, a mail server, a disk."""

import hashlib
import json
import os
import smtplib
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from demo.files import replacing

Json = Any
"""What JSON can hold."""


def request_json(
    url: str, payload: Json = None, *, timeout: float, headers: Mapping[str, str] | None = None
) -> Json:
    """GET an address, or POST a payload to it as JSON, and return the JSON of its answer.

    Args:
        url: An http or https address.
        payload: What to post; None gets instead.
        timeout: Seconds that each wait on the network may last.
        headers: Further headers.

    Raises:
        ValueError: Another kind of address, or an answer that is no JSON.
        OSError: Not reached in time, or a refusal (`urllib.error.HTTPError`).
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} is no http or https address")
    data = None if payload is None else json.dumps(payload).encode()
    # The scheme is checked above, so that no file: address gets here.
    request = Request(url, data, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    with urlopen(request, timeout=timeout) as answer:  # noqa: S310
        return json.load(answer)


def copy(source: Path, target: Path) -> str:
    """Copy a file, whole or not at all, and check what was written.

    Args:
        source: The file.
        target: Its copy; replaced if there.

    Returns:
        The SHA-256 of both.

    Raises:
        OSError: Unreadable, unwritable, or what was written differs from what was read.
    """
    read = hashlib.sha256()
    with replacing(target) as temporary:
        with source.open("rb") as reader, temporary.open("wb") as writer:
            while block := reader.read(1 << 20):
                read.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        with temporary.open("rb") as reader:
            written = hashlib.file_digest(reader, "sha256")
        if written.digest() != read.digest():
            raise OSError(f"{target} differs from {source} after the copy")
    return read.hexdigest()


def send_mail(server: str, message: EmailMessage, *, timeout: float) -> None:
    """Hand a message to a mail server.

    Args:
        server: The server's address, e.g. `smtp://mail.example.net:25`.
        message: With its From, To and Message-ID.
        timeout: Seconds that each wait on the network may last.

    Raises:
        ValueError: No such address.
        OSError: Not reached in time, or refused (`smtplib.SMTPException`).
    """
    parts = urlsplit(server)
    if parts.scheme != "smtp" or not parts.hostname:
        raise ValueError(f"{server!r} is no smtp:// address")
    with smtplib.SMTP(parts.hostname, parts.port or 25, timeout=timeout) as connection:
        connection.send_message(message)
