"""A fleet in a virtual host of its own: topology, least-privileged users, workers, clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from celery import Celery
from fleet.broker.topology import topology
from fleet.broker.versions import for_broker_version
from kombu import Connection

import celery_fleet
from support import fleet_model
from support.fleet_files import document

VARIABLE = "CELERY_FLEET_TEST_BROKER"
ROOT = Path(__file__).parents[2]
INTEGRATION = ROOT / "tests" / "integration"

# Seconds that a worker or scheduler may take to start, most of which is Python's imports. It says nothing of
# the fleet, but a machine with many tests on few cores needs half a minute for it.
START = 90.0


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


class Management:
    """RabbitMQ's management API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.username and parts.password, (
            f"{VARIABLE} lacks host, user or password"
        )
        self.host, self.user, self.password = parts.hostname, parts.username, parts.password
        self.base = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}/api/"
        self.login = b64encode(f"{self.user}:{self.password}".encode()).decode()

    def call(self, method: str, *path: str, **body: object) -> Any:
        url = self.base + "/".join(quote(part, safe="") for part in path)
        request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", f"Basic {self.login}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Proxy:
    """A broker's address that can go away and come back, and have TLS."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.target = (host, port)
        self.tls = tls
        self.listener: socket.socket | None = None
        self.open: list[socket.socket] = []
        self.port = free_port()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def connections(self) -> int:
        return sum(connection.fileno() >= 0 for connection in self.open[::2])

    def up(self) -> Proxy:
        self.listener = listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def down(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                with suppress(ssl.SSLError, ConnectionError):  # a client that does not trust us
                    if self.tls is not None:
                        near = self.tls.wrap_socket(near, server_side=True)
                    far = socket.create_connection(self.target)
                    self.open += [near, far]
                    for source, sink in ((near, far), (far, near)):
                        threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Systemd:
    """The notification socket of one unit, and what came in over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[tuple[float, str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while message := self.socket.recv(4096):
                self.messages.append((time.monotonic(), message.decode()))

    def count(self, state: str, since: float = 0) -> int:
        return sum(state in message for at, message in self.messages if at >= since)


@dataclass
class Worker:
    """A running worker of one pool."""

    process: subprocess.Popen[bytes]
    systemd: Systemd
    log: Path
    runtime: Path
    orders: Path

    def ready(self) -> Worker:
        wait_for(lambda: self.systemd.count("READY=1") or self.process.poll() is not None, START, "READY=1")
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def state(self) -> dict[str, Any]:
        """The state that it reports; empty before its first report."""
        path = self.runtime / "state.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def reaches(self, seconds: float = 60, **expected: object) -> dict[str, Any]:
        """Wait until its state has these values."""

        def reached() -> bool:
            state = self.state
            return all(state.get(key) == value for key, value in expected.items())

        try:
            wait_for(reached, seconds, str(expected))
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.state}; {self.log.read_text()[-3000:]}") from error
        return self.state

    def stop(self, seconds: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@dataclass
class Vhost:
    """A virtual host with the fleet's topology, its users, and the workers started in it."""

    management: Management
    directory: Path
    name: str
    workers: list[Worker] = field(default_factory=list)
    apps: list[Celery] = field(default_factory=list)
    client_control: bool = False
    _read: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def results(self) -> str:
        """The URL of a result backend that counts nothing: Celery looks after chords by itself."""
        return f"file://{self.directory}/results"

    @property
    def admin_url(self) -> str:
        admin = self.management
        login = f"{quote(admin.user, safe='')}:{quote(admin.password, safe='')}"
        return f"amqp://{login}@{admin.host}:5672/{quote(self.name, safe='')}"

    @cached_property
    def channel(self) -> Any:
        """An administrator's channel that stays open; publishes on it are not confirmed."""
        return Connection(self.admin_url).channel()

    @cached_property
    def series(self) -> tuple[int, ...]:
        """RabbitMQ's series, such as (4, 3)."""
        version: str = self.management.call("GET", "overview")["rabbitmq_version"]
        return tuple(map(int, version.split(".")[:2]))

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def address(self) -> tuple[str, int]:
        return self.management.host, 5672

    def user(self, name: str) -> str:
        return f"{self.name}_{name}"

    def password(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8")

    def set_password(self, name: str, password: str) -> None:
        """Set a user's password at the broker; the file is the test's matter."""
        self.management.call("PUT", "users", self.user(name), password=password, tags="")

    def connections(self, name: str) -> list[dict[str, Any]]:
        """Return the open connections of a user, from the broker's statistics."""
        connections = self.management.call("GET", "vhosts", self.name, "connections")
        return [connection for connection in connections if connection.get("user") == self.user(name)]

    def close_connections(self, name: str) -> None:
        """Close a user's connections from the broker's side, as an operator or a maintenance does."""
        with suppress(urllib.error.HTTPError):  # it has none
            self.management.call("DELETE", "connections", "username", self.user(name))

    def fleet_file(
        self,
        *nodes: tuple[str, int],
        ca_file: Path | None = None,
        results: tuple[str, int] | None = None,
        **pools: object,
    ) -> Path:
        """Write the file that a host of this fleet has, with fields of all pools changed."""
        contents = document(
            secrets=str(self.secrets),
            nodes=nodes or (self.address,),
            vhost=self.name,
            prefix=self.user(""),
            ca_file=None if ca_file is None else str(ca_file),
            results=results,
        )
        for pool in contents["pools"].values():
            pool.update(pools)
        contents["broker"]["client_control"] = self.client_control
        path = self.directory / f"fleet-{uuid.uuid4().hex[:6]}.json"
        path.write_text(json.dumps(contents), encoding="utf-8")
        return path

    def environment(self, fleet_file: Path, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(INTEGRATION))),
            "CELERY_FLEET_FILE": str(fleet_file),
            "TEST_LEDGER": str(self.ledger),
            "TEST_RESULTS": self.results,
            **more,
        }

    def worker(
        self,
        pool: str,
        *options: str,
        name: str | None = None,
        fleet_file: Path | None = None,
        watchdog: float = 30,
        environment: dict[str, str] | None = None,
        app: str = "application",
    ) -> Worker:
        """Start a worker of a pool as its unit would, with the rights of that pool."""
        name = name or f"{pool}_worker_{uuid.uuid4().int % 10**6}"
        systemd = Systemd(self.directory / f"{name}.notify")
        log = self.directory / f"{name}.log"
        # A unit's own, beside those of the pool's other instances.
        instance = f"1.0_abcd_{len(self.workers) + 1}"
        runtime = self.directory / f"celery-fleet-{pool}@{instance}"
        runtime.mkdir()
        orders = self.directory / "orders" / instance
        variables = self.environment(
            fleet_file or self.fleet_file(),
            CELERY_FLEET_POOL=pool,
            RUNTIME_DIRECTORY=str(runtime),
            CELERY_FLEET_ORDERS=str(orders),
            NOTIFY_SOCKET=str(systemd.path),
            WATCHDOG_USEC=str(int(watchdog * 1_000_000)),
            **{"CELERY_FLEET_INSTANCE": instance, **(environment or {})},
        )
        queues = ",".join(document()["pools"][pool]["queues"])
        command = [sys.executable, "-m", "celery", "--app", app, "worker", "--loglevel", "INFO"]
        command += ["--hostname", f"{name}@%h", "--queues", queues, *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=variables, cwd=self.directory, stdout=output, stderr=output
            )
        worker = Worker(process, systemd, log, runtime, orders / str(runtime.stat().st_ino))
        worker.orders.mkdir(parents=True)
        self.workers.append(worker)
        return worker

    def client(
        self,
        monkeypatch: pytest.MonkeyPatch,
        patience: float = 20,
        pool: str = "",
        fleet_file: Path | None = None,
        **settings: object,
    ) -> Celery:
        """Make an application with the rights of a client or a pool's workers, and these settings."""
        monkeypatch.setenv("CELERY_FLEET_FILE", str(fleet_file or self.fleet_file()))
        monkeypatch.setenv("CELERY_FLEET_POOL", pool)
        app = Celery(f"client-{uuid.uuid4().hex[:6]}", set_as_current=False)
        app.conf.update({"task_ignore_result": True, **settings})
        celery_fleet.configure(app, publish_patience=patience)
        self.apps.append(app)
        return app

    def command(self, *arguments: str, pool: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celery_fleet", *arguments],
            env=self.environment(self.fleet_file()) | ({"CELERY_FLEET_POOL": pool} if pool else {}),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def events(self, label: str) -> dict[str, list[tuple[float, int]]]:
        """Return the times and processes of a task's starts and ends."""
        moments: dict[str, list[tuple[float, int]]] = {"start": [], "end": []}
        for mark in self.marks():
            if mark["label"] == label and mark["event"] in moments:
                moments[mark["event"]].append((mark["at"], mark["pid"]))
        return moments

    def deliveries(self, since: float = 0) -> list[tuple[str, str, str, str]]:
        """Return the task, exchange, routing key and pool of every delivery, by the wall clock."""
        return [
            (mark["label"], mark["exchange"], mark["routing_key"], mark["pool"])
            for mark in self.marks()
            if mark["event"] == "delivered" and mark["at"] >= since
        ]

    def marks(self) -> list[dict[str, Any]]:
        """Return what tasks wrote to the ledger, in the order of time; each file is read once."""
        for path in self.ledger.iterdir():
            if path.name not in self._read and not path.name.startswith("."):
                self._read[path.name] = json.loads(path.read_text(encoding="utf-8"))
        return sorted(self._read.values(), key=lambda mark: mark["at"])

    def release(self, label: str) -> None:
        """Let the task `hold` of this label end."""
        (self.ledger / f".release-{label}").touch()

    def fill(self, worker: Worker, app: Celery, queue: str, label: str, running: int) -> None:
        """Let a worker run so many tasks that are held, with others of 21 waiting in it."""
        for _ in range(21):
            app.send_task("hold", (label,), queue=queue)
        wait_for(lambda: len(self.events(label)["start"]) == running, 60, "the start of tasks")
        wait_for(lambda: worker.state["reserved"] > 0, 60, "prefetched tasks")

    def ready_messages(self, queue: str) -> int:
        """Count the messages that wait in a queue, now rather than when statistics were last taken."""
        return int(self.channel.queue_declare(queue, passive=True).message_count)

    def purge(self, queue: str) -> None:
        """Remove all messages that wait in a queue."""
        self.management.call("DELETE", "queues", self.name, queue, "contents")

    def policy(self, queue: str, **definition: object) -> None:
        self.management.call(
            "PUT",
            "policies",
            self.name,
            queue,
            pattern=f"^{queue}$",
            definition=definition,
            priority=10,
            **{"apply-to": "queues"},
        )


@contextmanager
def temporary_vhost(
    directory: Path,
    *,
    client_control: bool = False,
    flower: dict[str, Any] | None = None,
    variable: str = VARIABLE,
) -> Iterator[Vhost]:
    """Make a fleet of its own, with least privilege, at the broker that the environment names."""
    url = os.environ.get(variable) or os.environ.get(VARIABLE)
    assert url, f"set {VARIABLE} to the management URL of a broker, e.g. http://kit:PASSWORD@broker1:15672"
    management = Management(url)
    vhost = Vhost(management, directory, f"fleet_test_{uuid.uuid4().hex[:8]}", client_control=client_control)
    for path in (vhost.ledger, vhost.secrets, directory / "results"):
        path.mkdir()
    version = management.call("GET", "overview")["rabbitmq_version"]
    model = fleet_model.load()
    model["broker"]["client_control"] = client_control
    model["flower"] = flower or {}
    desired = for_broker_version(topology(model, {}), version)
    users = [user for user in desired["users"] if user["name"] != "kit"]
    management.call("PUT", "vhosts", vhost.name)
    try:
        management.call(
            "PUT", "permissions", vhost.name, management.user, configure=".*", write=".*", read=".*"
        )
        for user in users:
            password = uuid.uuid4().hex
            (vhost.secrets / user["name"]).write_text(password, encoding="utf-8")
            management.call(
                "PUT", "users", vhost.user(user["name"]), password=password, tags=",".join(user["tags"])
            )
        management.call("POST", "definitions", vhost.name, **definitions(desired))
        for kind in ("permissions", "topic_permissions"):
            for right in desired.get(kind, []):
                if right["user"] != "kit":
                    user, rights = vhost.user(right["user"]), {**right}
                    del rights["user"]
                    management.call("PUT", kind.replace("_", "-"), vhost.name, user, **rights)
        yield vhost
    finally:
        for worker in vhost.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        for app in vhost.apps:
            app.pool.force_close_all()
        if "channel" in vars(vhost):
            vhost.channel.connection.client.release()
        management.call("DELETE", "vhosts", vhost.name)
        for user in users:
            with suppress(OSError):
                management.call("DELETE", "users", vhost.user(user["name"]))


def definitions(desired: dict[str, Any]) -> dict[str, Any]:
    """Return the topology as the definitions of a virtual host, which hold neither users nor rights."""
    sections = {name: desired[name] for name in ("exchanges", "queues", "bindings")}
    sections["policies"] = [
        {"apply-to" if name == "apply_to" else name: value for name, value in policy.items()}
        for policy in desired["policies"]
    ]
    return sections
