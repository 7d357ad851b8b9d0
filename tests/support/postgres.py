"""A PostgreSQL server of the distribution's, for one test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from support.vhost import wait_for


@contextmanager
def temporary_postgres() -> Iterator[Path]:
    """Run a server that listens on a socket only, and yield the socket's directory."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name))
    assert binaries, "PostgreSQL is not installed; scripts/setup test does it"
    # It does not run as root.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    # Short, since a socket's path may have 107 characters, and not in a directory that is root's alone.
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    if user:
        shutil.chown(directory, **user)
    data, log = directory / "data", directory / "log"
    initialise = (
        f"{binaries[-1]}/initdb --pgdata={data} --username=postgres --auth=trust --encoding=UTF8 --no-sync"
    )
    serve = f"{binaries[-1]}/postgres -D {data} -k {directory} -c listen_addresses= -c fsync=off"
    try:
        initialised = subprocess.run(
            initialise.split(), cwd=directory, capture_output=True, text=True, check=False, **user
        )
        assert initialised.returncode == 0, initialised.stderr
        with log.open("wb") as output:
            server = subprocess.Popen(serve.split(), cwd=directory, stdout=output, stderr=output, **user)
        try:
            wait_for(lambda: server.poll() is not None or _answers(directory), 60, "PostgreSQL")
            assert server.poll() is None, log.read_text()
            yield directory
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()
    finally:
        shutil.rmtree(directory)


def query(directory: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement, and return its rows."""
    with psycopg.connect(host=str(directory), user="postgres", autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def _answers(directory: Path) -> bool:
    try:
        query(directory, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
