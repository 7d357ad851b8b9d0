"""How workers and clients reach the broker: TLS, passwords that change, nodes that go away."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from support.authority import Authority
from support.vhost import START, Proxy, Vhost, Worker, temporary_vhost, wait_for

from celery_fleet.connection import CONNECT_TIMEOUT

QUEUE = "io_api_calls"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet of its own, whose passwords and queues other tests do not need."""
    with temporary_vhost(tmp_path_factory.mktemp("conn")) as vhost:
        yield vhost


@pytest.fixture
def worker(vhost: Vhost) -> Iterator[Callable[..., Worker]]:
    """Starts a worker of the pool, and ends it with the test."""
    workers: list[Worker] = []

    def start(**options: Any) -> Worker:
        workers.append(vhost.worker("io", "--pool", "threads", "--concurrency", "2", **options))
        return workers[-1]

    yield start
    for each in workers:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def proxies(vhost: Vhost) -> Iterator[tuple[Proxy, Proxy]]:
    """Two addresses of the broker, as if it had two nodes."""
    both = Proxy(*vhost.address).up(), Proxy(*vhost.address).up()
    yield both
    for proxy in both:
        proxy.down()


def _runs(vhost: Vhost, app: Celery, seconds: float = 60) -> float:
    """Send a task, and return the seconds until it ran."""
    label, sent = uuid.uuid4().hex, time.monotonic()
    app.send_task("work", (label,), queue=QUEUE)
    wait_for(lambda: vhost.events(label)["end"], seconds, "the end of a task")
    return time.monotonic() - sent


def _closed(vhost: Vhost, name: str) -> None:
    """Close a user's connections from the broker's side, once its statistics know them."""
    wait_for(lambda: vhost.connections(name), 60, f"{name}'s connections in the statistics")
    vhost.close_connections(name)


def _reconnected(vhost: Vhost, worker: Worker) -> None:
    """Break a worker's connections, and wait until it consumes again."""
    since = time.monotonic()
    _closed(vhost, "worker_io")
    wait_for(lambda: worker.systemd.count("READY=1", since), 60, "the worker's return")


def test_clients_are_spread_and_go_on_at_another_node(
    vhost: Vhost, worker: Callable[..., Worker], proxies: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet_file = vhost.fleet_file(*(proxy.address for proxy in proxies))
    running = worker(fleet_file=fleet_file).ready()
    app = vhost.client(monkeypatch, fleet_file=fleet_file)
    _runs(vhost, app)
    for near, far in (proxies, proxies[::-1]):
        near.down()
        # Also the publisher's connection may have been there; what it sends is not lost.
        assert _runs(vhost, app) < 30
        assert far.connections
        assert running.process.poll() is None
        near.up()


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """The address of a node whose host is gone: nothing answers there, not even with a refusal."""
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        caller.connect(listener.getsockname())  # fills the queue, so that Linux ignores whoever comes next
        yield listener.getsockname()


def test_a_publisher_goes_on_to_the_next_node_when_a_host_is_gone(
    vhost: Vhost, worker: Callable[..., Worker], silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first connection already; which node a process begins with is its own choice."""
    worker().ready()
    took = []
    for nodes in (silent, vhost.address), (vhost.address, silent):
        app = vhost.client(monkeypatch, fleet_file=vhost.fleet_file(*nodes))
        took.append(_runs(vhost, app))
    assert min(took) < CONNECT_TIMEOUT <= max(took) < CONNECT_TIMEOUT + 2


def test_a_publisher_loses_nothing_while_its_nodes_go_away(
    vhost: Vhost, worker: Callable[..., Worker], proxies: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet_file = vhost.fleet_file(*(proxy.address for proxy in proxies))
    worker(fleet_file=fleet_file).ready()
    app = vhost.client(monkeypatch, fleet_file=fleet_file)
    run = uuid.uuid4().hex
    done = threading.Event()

    def disturb() -> None:
        for turn in range(6):
            done.wait(0.7)
            proxies[turn % 2].down()
            proxies[turn % 2].up()

    thread = threading.Thread(target=disturb)
    thread.start()
    numbers = 0
    while thread.is_alive():
        app.send_task("work", (f"{run}-{numbers}",), queue=QUEUE)
        numbers += 1
    wait_for(
        lambda: all(vhost.events(f"{run}-{number}")["end"] for number in range(0, numbers, 50)),
        60,
        "the published tasks",
    )
    ended = {mark["label"] for mark in vhost.marks() if mark["event"] == "end"}
    wait_for(
        lambda: (
            {m["label"] for m in vhost.marks() if m["event"] == "end"}
            >= {f"{run}-{number}" for number in range(numbers)}
        ),
        60,
        f"all {numbers} tasks; {numbers - sum(label.startswith(run) for label in ended)} are missing",
    )


def test_a_password_changes_under_worker_and_publisher(
    vhost: Vhost, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the rotation does it: both passwords in the files, the broker, then the new one only."""
    running = worker().ready()
    app = vhost.client(monkeypatch)
    _runs(vhost, app)
    for name in ("worker_io", "client"):
        old, new = vhost.password(name), uuid.uuid4().hex
        previous = vhost.secrets / f"{name}.previous"
        previous.write_text(old)
        (vhost.secrets / name).write_text(new)
        # The broker does not know it yet.
        if name == "worker_io":
            _reconnected(vhost, running)
        _closed(vhost, "client")
        _runs(vhost, app)
        vhost.set_password(name, new)
        previous.unlink()
        if name == "worker_io":
            _reconnected(vhost, running)
        _closed(vhost, "client")
        _runs(vhost, app)
    assert running.process.poll() is None
    log = running.log.read_text()
    for path in vhost.secrets.iterdir():
        assert path.read_text() not in log


def test_a_refused_worker_waits_and_says_why(vhost: Vhost, worker: Callable[..., Worker]) -> None:
    right, wrong = vhost.password("worker_io"), uuid.uuid4().hex
    (vhost.secrets / "worker_io").write_text(wrong)
    try:
        running = worker()
        refused = f"refuses user {vhost.user('worker_io')} with the password in {vhost.secrets}/worker_io"
        wait_for(lambda: running.systemd.count(refused) >= 2, START, "its waiting")
        assert running.process.poll() is None
        assert running.systemd.count("EXTEND_TIMEOUT_USEC") >= 2
    finally:
        (vhost.secrets / "worker_io").write_text(right)
    running.ready()
    assert wrong not in running.log.read_text()


def test_a_refused_publisher_raises(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    right = vhost.password("client")
    app = vhost.client(monkeypatch)
    app.send_task("work", ("taken",), queue=QUEUE)
    _closed(vhost, "client")
    (vhost.secrets / "client").write_text("wrong")
    (vhost.secrets / "client.previous").write_text("wrong, too")
    try:
        with pytest.raises(
            OperationalError, match=r"refuses user \S+_client with the password in \S+/client\."
        ):
            app.send_task("work", ("refused",), queue=QUEUE)
    finally:
        (vhost.secrets / "client").write_text(right)
        (vhost.secrets / "client.previous").unlink()
    app.send_task("work", ("taken",), queue=QUEUE)


def test_verification_tells_a_refused_login_from_an_absent_broker(vhost: Vhost) -> None:
    right = vhost.password("verify")
    (vhost.secrets / "verify").write_text("wrong")
    try:
        result = vhost.command("verify")
    finally:
        (vhost.secrets / "verify").write_text(right)
    assert result.returncode == 2
    assert f"refuses user {vhost.user('verify')}" in result.stderr


@pytest.fixture
def tls(vhost: Vhost, tmp_path: Path) -> Iterator[tuple[Proxy, Path, Authority]]:
    """The broker behind TLS, the file of the authority that its clients trust, and that authority."""
    authority, ca_file = Authority("site"), tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    proxy = Proxy(*vhost.address, tls=authority.server("127.0.0.1", tmp_path)).up()
    yield proxy, ca_file, authority
    proxy.down()


@pytest.mark.minors
def test_tls_end_to_end(
    vhost: Vhost,
    worker: Callable[..., Worker],
    tls: tuple[Proxy, Path, Authority],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    proxy, ca_file, _ = tls
    fleet_file = vhost.fleet_file(proxy.address, ca_file=ca_file)
    running = worker(fleet_file=fleet_file).ready()
    app = vhost.client(monkeypatch, fleet_file=fleet_file)
    _runs(vhost, app)
    # Another authority takes over: first it is trusted, too, then it signs, without any restart.
    renewed = Authority("renewed")
    ca_file.write_bytes(ca_file.read_bytes() + renewed.pem)
    since = time.monotonic()
    proxy.down()
    proxy.tls = renewed.server("127.0.0.1", tmp_path)
    proxy.up()
    wait_for(lambda: running.systemd.count("READY=1", since), 60, "the worker's return")
    _runs(vhost, app)


@pytest.mark.parametrize("fault", ["an authority that is not trusted", "a certificate for another address"])
def test_tls_is_verified(
    vhost: Vhost,
    tls: tuple[Proxy, Path, Authority],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
) -> None:
    proxy, ca_file, authority = tls
    if "authority" in fault:
        ca_file.write_bytes(Authority("stranger").pem)
    else:
        proxy.tls = authority.server("127.0.0.2", tmp_path)
    app = vhost.client(monkeypatch, fleet_file=vhost.fleet_file(proxy.address, ca_file=ca_file))
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        app.send_task("work", ("unsafe",), queue=QUEUE)


def test_a_missing_authority_is_named(
    vhost: Vhost, tls: tuple[Proxy, Path, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, ca_file, _ = tls
    app = vhost.client(monkeypatch, fleet_file=vhost.fleet_file(proxy.address, ca_file=ca_file))
    ca_file.unlink()
    with pytest.raises(OperationalError, match=f"{ca_file}: no such file"):
        app.send_task("work", ("unsafe",), queue=QUEUE)


def test_a_worker_stands_that_its_connections_are_closed(
    vhost: Vhost, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `close_all_connections` and the maintenance mode of a node do (CONNECTION_FORCED)."""
    running = worker().ready()
    _reconnected(vhost, running)
    assert "CONNECTION_FORCED" in running.log.read_text()
    _runs(vhost, vhost.client(monkeypatch))


def test_a_worker_stands_that_its_queue_is_made_anew(
    vhost: Vhost, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a migration does: the broker cancels the consumer, and for a while there is no such queue."""
    running = worker().ready()
    # Right after a start RabbitMQ 4.0 was seen to delete a queue without a word to its consumer.
    _runs(vhost, vhost.client(monkeypatch))
    queue = vhost.management.call("GET", "queues", vhost.name, QUEUE)
    bindings = [
        b for b in vhost.management.call("GET", "queues", vhost.name, QUEUE, "bindings") if b["source"]
    ]
    since = time.monotonic()
    vhost.management.call("DELETE", "queues", vhost.name, QUEUE)
    wait_for(lambda: running.systemd.count("NOT_FOUND", since), 60, "its waiting")
    assert running.process.poll() is None
    vhost.management.call(
        "PUT", "queues", vhost.name, QUEUE, durable=True, arguments={"x-queue-type": queue["type"]}
    )
    for binding in bindings:
        vhost.management.call(
            "POST",
            "bindings",
            vhost.name,
            "e",
            binding["source"],
            "q",
            QUEUE,
            routing_key=binding["routing_key"],
        )
    since = time.monotonic()
    wait_for(lambda: running.systemd.count("READY=1", since), 60, "its return")
    _runs(vhost, vhost.client(monkeypatch))
