"""The server of results on this host, asked over its socket."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Final

from .names import (
    RESULTS_CONFIG,
    RESULTS_PASSWORD,
    RESULTS_SOCKET,
    RESULTS_USERS,
    below,
)

_KIT: Final = "results_kit"
_ANSWER_S: Final = 5
_USERS_READ: Final = RESULTS_CONFIG / ".users-read"
# A file that was written so shortly before the start may be what it has read.
_SLACK_S: Final = 2
# What `status` shows of what the server tells about itself.
_FIGURES: Final = (
    "uptime_in_seconds",
    "used_memory",
    "maxmemory",
    "loading",
    "aof_enabled",
    "connected_clients",
)


class ResultsError(Exception):
    """The server does not answer, or refuses; the message says why."""


def ask(*command: str, path: str = str(RESULTS_SOCKET), password_file: str = str(RESULTS_PASSWORD)) -> str:
    """Run one command as the kit's user.

    Args:
        command: The command and its arguments.
        path: The server's socket.
        password_file: File with the user's password.

    Returns:
        The answer, as text.

    Raises:
        ResultsError: The server does not answer, or refuses.
    """
    try:
        password = Path(password_file).read_text(encoding="utf-8").strip()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(path)
            with connection.makefile("rwb") as stream:
                for words in (("AUTH", _KIT, password), command):
                    stream.write(f"*{len(words)}\r\n".encode())
                    for word in words:
                        data = word.encode()
                        stream.write(b"$%d\r\n%s\r\n" % (len(data), data))
                    stream.flush()
                    answer = _answer(stream)
    except OSError as error:
        raise ResultsError(str(error)) from error
    return answer


def status(**places: str) -> dict[str, Any]:
    """Return how the server is.

    Args:
        places: As ``ask`` takes them.

    Returns:
        Bytes that results fill (``used_memory``) and may fill (``maxmemory``), seconds since the start,
        whether it still reads its file (``loading``), whether its last writes to it succeeded
        (``aof_fine``), and how many writes it refused for want of memory since its start (``refused``).

    Raises:
        ResultsError: The server does not answer, or refuses.
    """
    lines = ask("INFO", "everything", **places).splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    refused = told.get("errorstat_OOM", "count=0").partition("=")[2]
    return {
        **{name: int(told.get(name) or 0) for name in _FIGURES},
        "version": told.get("valkey_version") or told.get("redis_version") or "",
        "aof_fine": all(told.get(f"aof_last_{kind}_status", "ok") == "ok" for kind in ("write", "bgrewrite")),
        "refused": int(refused) if refused.isdigit() else 0,
    }


def read_users() -> None:
    """Let the server read its file of users, and remember when it did.

    Raises:
        ResultsError: The server does not answer, or refuses.
    """
    ask("ACL", "LOAD")
    Path(_USERS_READ).touch()


def stale_users(uptime: int, root: Path = Path("/")) -> bool:
    """Return whether the file of users is newer than what the running server has read.

    Args:
        uptime: Seconds since its start.
        root: Directory that stands for the root of the file system.
    """
    # It counts whole seconds, and may have begun one before.
    read = max(time.time() - uptime - 1, _changed(below(root, _USERS_READ)))
    return _changed(below(root, RESULTS_USERS)) > read + _SLACK_S


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _answer(stream: Any) -> str:  # noqa: ANN401 - a socket's file
    """Read one answer: a line, or a text of so many bytes."""
    line: str = stream.readline().decode().strip()
    kind, rest = line[:1], line[1:]
    if kind in ("+", ":"):
        return rest
    if kind == "$":
        text: bytes = stream.read(int(rest) + 2) if int(rest) >= 0 else b""
        return text.decode(errors="replace")
    raise ResultsError(rest or "it closed the connection")
