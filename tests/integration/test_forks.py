"""Publishers that were forked from one with a connection: each has its own, nothing is lost or doubled."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.authority import Authority
from support.vhost import START, Proxy, Vhost, temporary_vhost, wait_for

QUEUE = "io_email_sending"
PROCESSES = 3
REQUESTS = 120
BIN = Path(sys.executable).parent
_GUNICORN = f"{BIN}/gunicorn --preload --workers {PROCESSES} --bind unix:{{socket}} web:web"
_UWSGI = (
    f"{BIN}/uwsgi --home {BIN.parent} --master --processes {PROCESSES} --http-socket {{socket}} "
    "--die-on-term --need-app --module web:web"
)
SERVERS = {"gunicorn": f"{_GUNICORN} --threads 4", "uwsgi": f"{_UWSGI} --threads 4"}

# Publishes in its children and by itself, and asks whether its own connection outlived theirs.
FORKING = """
import multiprocessing
from web import app, publish

def some(name):
    for number in range(40):
        publish(f"{name}-{number}")

def port():
    with app.producer_pool.acquire() as producer:
        return producer.connection._connection.transport.sock.getsockname()

before = port()
context = multiprocessing.get_context("fork")
children = [context.Process(target=some, args=(f"child-{number}",)) for number in range(3)]
for child in children:
    child.start()
some("parent")
for child in children:
    child.join()
publish("last")
assert port() == before, "the parent had to connect again"
assert not any(child.exitcode for child in children)
"""


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, so that everything published stays."""
    with temporary_vhost(tmp_path_factory.mktemp("f")) as vhost:
        yield vhost


class Connection(http.client.HTTPConnection):
    """HTTP through a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


@contextmanager
def server(vhost: Vhost, command: str) -> Iterator[Path]:
    """Run a web server until the end of the block."""
    path, log = vhost.directory / "web.sock", vhost.directory / "web.log"
    path.unlink(missing_ok=True)
    environment = vhost.environment(vhost.fleet_file(), TEST_QUEUE=QUEUE)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.format(socket=path).split(),
            env=environment,
            cwd=vhost.directory,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: path.exists() or process.poll() is not None, START, "the socket of the server")
        assert process.poll() is None, log.read_text()
        yield path
    finally:
        process.terminate()
        process.wait(30)


def labels(vhost: Vhost) -> Counter[str]:
    """Take the arguments of all published tasks."""
    found: Counter[str] = Counter()
    while message := vhost.channel.basic_get(QUEUE, no_ack=True):
        found[json.loads(message.body)[0][0]] += 1
    return found


@pytest.mark.parametrize("name", SERVERS)
def test_a_web_server_that_forks_loses_nothing(vhost: Vhost, name: str) -> None:
    def request(path: Path, label: str) -> tuple[int, str]:
        connection = Connection(path)
        connection.request("GET", f"/{label}")
        response = connection.getresponse()
        try:
            return response.status, response.read().decode()
        finally:
            connection.close()

    wanted = [f"request-{number}" for number in range(REQUESTS)]
    log = vhost.directory / "web.log"
    with server(vhost, SERVERS[name]) as path, ThreadPoolExecutor(8) as threads:
        try:
            answers = list(threads.map(lambda label: request(path, label), wanted))
        except http.client.HTTPException as error:  # uWSGI's only answer to an exception of the application
            raise AssertionError(log.read_text()) from error
    assert {status for status, _ in answers} == {200}, log.read_text()
    assert len({process for _, process in answers}) > 1
    assert labels(vhost) == Counter(["import", *wanted])


@pytest.mark.parametrize("tls", [False, True])
def test_a_process_and_those_that_it_forks_leave_each_other_alone(
    vhost: Vhost, tls: bool, tmp_path: Path
) -> None:
    fleet_file = vhost.fleet_file()
    if tls:
        authority = Authority("site")
        (tmp_path / "ca.pem").write_bytes(authority.pem)
        proxy = Proxy(*vhost.address, tls=authority.server("127.0.0.1", tmp_path)).up()
        fleet_file = vhost.fleet_file(proxy.address, ca_file=tmp_path / "ca.pem")
    ended = subprocess.run(
        [sys.executable, "-c", FORKING],
        env=vhost.environment(fleet_file, TEST_QUEUE=QUEUE),
        capture_output=True,
        text=True,
        timeout=START,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    names = ("child-0", "child-1", "child-2", "parent")
    published = [f"{name}-{number}" for name in names for number in range(40)]
    assert labels(vhost) == Counter(["import", *published, "last"])
