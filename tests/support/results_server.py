"""A server of results as the kit runs it, for some tests: with its users and their rights."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import redis
from fleet.results import USERS, acl

from support.vhost import free_port, wait_for

# The program is that of the server, which goes by its name; the server's own package would start one.
PROGRAM = "redis-check-rdb"


class ResultsServer:
    """One server, whose data outlives a restart.

    Args:
        secrets: Directory that gets the password of each user in the file of its name.
        memory: MiB that results may fill.
    """

    def __init__(self, secrets: Path, memory: int = 64) -> None:
        self.secrets, self.memory = secrets, memory
        self.address = ("127.0.0.1", free_port())
        self._data = tempfile.TemporaryDirectory(prefix="results-")
        self.directory = Path(self._data.name)
        self._process: subprocess.Popen[bytes] | None = None
        for user in USERS:
            (secrets / user).write_text(f"{user}-secret")
        self.write_users()

    def write_users(self, further: Mapping[str, str] | None = None) -> None:
        """Write the file of users, with further passwords of some."""
        passwords = {user: (self.secrets / user).read_text() for user in USERS}
        (self.directory / "users.acl").write_text(acl(passwords, further))

    def start(self) -> ResultsServer:
        """Start the server, unless it runs, and wait until it answers."""
        if self._process is not None:
            return self
        host, port = self.address
        options = {
            "bind": host,
            "unixsocket": self.directory / "socket",
            "port": port,
            "dir": self.directory,
            "aclfile": self.directory / "users.acl",
            "appendonly": "yes",
            "save": '""',
            "maxmemory": f"{self.memory}mb",
            "maxmemory-policy": "noeviction",
        }
        (self.directory / "server.conf").write_text(
            "".join(f"{name} {value}\n" for name, value in options.items())
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", str(self.directory / "server.conf")],
                executable=f"/usr/bin/{PROGRAM}",
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, 30, "the server of results")
        return self

    def stop(self) -> None:
        """Stop the server, as systemd does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        self._data.cleanup()

    def client(self, user: str) -> redis.Redis:
        """Connect as one of the users."""
        host, port = self.address
        password = (self.secrets / user).read_text()
        return redis.Redis(host=host, port=port, username=user, password=password, decode_responses=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            return bool(self.client("results_kit").ping())
        except redis.exceptions.ConnectionError:
            return False
