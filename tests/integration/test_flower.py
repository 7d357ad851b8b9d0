"""Flower as the role runs it: its unit's command, configuration, environment, and its user's rights."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from amqp.exceptions import AccessRefused
from fleet.broker.rights import permissions_of
from fleet.host.names import installation
from fleet.model.types import Flower
from support.fleet_files import document
from support.vhost import ROOT, START, Vhost, temporary_vhost, wait_for

from celery_fleet import ControlRefusedError

SECRET = "hunter2"
LOCK = ROOT / "requirements" / "flower.txt"
QUEUE = "io_api_calls"
TASKS = {
    "draw": 1,
    "start": 0,
    "length": 100,
    "search[value]": "",
    "order[0][column]": 0,
    "order[0][dir]": "asc",
    "columns[0][data]": "name",
}


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet with Flower's user, and a worker of two pools that send events."""
    with temporary_vhost(tmp_path_factory.mktemp("f"), flower={"runs": True}) as vhost:
        arguments = ("--pool", "threads", "--concurrency", "2", "--task-events")
        workers = [vhost.worker(pool, *arguments, name=f"{pool}_worker_1") for pool in ("io", "general")]
        for worker in workers:
            worker.ready()
        yield vhost


@dataclass
class Server:
    """A Flower that runs, by its socket."""

    path: Path
    log: Path

    def ask(self, path: str, method: str = "GET", **form: object) -> tuple[int, str]:
        """Return the status and the page of a path."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.path))
        body = urlencode(form) if method == "POST" else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def workers(self) -> dict[str, bool]:
        """Return whether each worker lives, by the name that it has without its host."""
        rows = json.loads(self.ask("/workers?json=1")[1])["data"]
        return {row["hostname"].partition("@")[0]: row["status"] for row in rows}

    def hears_workers(self) -> None:
        """Wait until it has heard of both workers, and so hears what becomes of tasks from now on."""
        both = {"io_worker_1": True, "general_worker_1": True}
        try:
            wait_for(lambda: self.workers() == both, START, "both workers")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.log.read_text()}") from error

    def states(self) -> dict[str, str]:
        """Return the state of each task by its id."""
        return {task["uuid"]: task["state"] for task in self.tasks()}

    def tasks(self, search: str = "") -> list[dict[str, Any]]:
        """Return what the list of tasks shows."""
        text = self.ask("/tasks/datatable?" + urlencode({**TASKS, "search[value]": search}))[1]
        found: list[dict[str, Any]] = json.loads(text)["data"]
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flower")


@contextmanager
def running(vhost: Vhost, place: Path, *, control: bool = False) -> Iterator[Server]:
    """Run Flower as its unit does, in an environment of its lock."""
    # Where other releases of Celery are tested there is no Ansible.
    from support.units import parse, render

    there = installation("shop") | {
        "flower_config": str(place),
        "flower_root": str(place / "root"),
        "flower_socket": str(place / "http.sock"),
    }
    given: dict[str, Any] = {
        "flower_installation": there,
        "flower_lock": str(LOCK),
        "flower_control": control,
        "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"},
    }
    (place / "flowerconfig.py").write_text(render("flowerconfig.py.j2", role="flower", **given))
    service = parse(render("flower.service.j2", role="flower", **given))["Service"]
    command = service["ExecStart"][0].split()
    variables = dict(line.split("=", 1) for line in service["Environment"])
    package = Path(variables["PYTHONPATH"])
    if not Path(command[0]).exists():
        environment = Path(command[0]).parents[1]
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert uv, "uv makes Flower's environment"
        settings = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
        for step in (
            ["venv", "--quiet", "--python", sys.executable, str(environment)],
            ["pip", "sync", "--quiet", "--require-hashes", "--python", str(environment), str(LOCK)],
        ):
            subprocess.run([uv, *step], check=True, env=settings)
        package.mkdir()
        (package / "celery_fleet").symlink_to(ROOT / "celery_fleet")
        module = "celery_fleet_flower.py"
        (package / module).symlink_to(ROOT / "roles" / "flower" / "files" / module)
    fleet_file(vhost, Path(variables["CELERY_FLEET_FILE"]), control=control)
    log = place / "flower.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={"PATH": os.defpath} | variables, cwd=place, stdout=output, stderr=output
        )
    server = Server(place / "http.sock", log)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return server.ask("/healthcheck")[0] == 200
            except OSError:
                return False

        wait_for(answers, START, "Flower's answer")
        yield server
    finally:
        process.kill()
        process.wait()


def fleet_file(vhost: Vhost, path: Path, *, control: bool = False) -> Path:
    """Write the file by which Flower finds the broker."""
    content = document(
        secrets=str(vhost.secrets), nodes=(vhost.address,), vhost=vhost.name, prefix=vhost.user("")
    )
    content["broker"] |= {
        "user": vhost.user("flower"),
        "password_file": str(vhost.secrets / "flower"),
        "client_control": control,
    }
    path.write_text(json.dumps(content))
    return path


def test_it_shows_workers_by_pool_and_tasks_to_their_end_but_no_argument(
    vhost: Vhost, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch)
    with running(vhost, place) as flower:
        flower.hears_workers()
        sent = {app.send_task("hold", (label,), queue=QUEUE).id for label in (SECRET, f"{SECRET}-2")}
        wait_for(lambda: flower.states() == dict.fromkeys(sent, "STARTED"), START, "two that run")
        vhost.release(SECRET)
        vhost.release(f"{SECRET}-2")
        wait_for(lambda: flower.states() == dict.fromkeys(sent, "SUCCESS"), START, "their end")
        tasks = flower.tasks()
        assert {task["worker"].partition("@")[0] for task in tasks} == {"io_worker_1"}
        # Neither in a list, nor on a page, nor found by it.
        pages = [json.dumps(tasks), *(flower.ask(f"/task/{task}")[1] for task in sent)]
        assert not [page for page in pages if SECRET in page]
        assert all("(hidden)" in page for page in pages)
        assert flower.tasks(search=f"args:{SECRET}") == flower.tasks(search=SECRET) == []
        # It commands nobody, whatever comes through its socket.
        name = tasks[0]["worker"]
        assert flower.ask(f"/api/worker/shutdown/{name}", "POST")[0] == 401
        assert flower.ask("/api/tasks")[0] == 401
        assert flower.ask(f"/api/task/revoke/{sent.copy().pop()}", "POST", terminate="1")[0] == 401
        assert "Failed to capture events" not in flower.log.read_text()
    assert all(worker.process.poll() is None for worker in vhost.workers)


def test_whoever_takes_it_over_hears_events_and_can_do_nothing_else(
    vhost: Vhost, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = vhost.client(monkeypatch, fleet_file=fleet_file(vhost, place / "stolen.json"))
    with pytest.raises(ControlRefusedError):
        app.control.shutdown()
    with pytest.raises(AccessRefused), app.connection_for_read() as connection:
        connection.default_channel.basic_get(QUEUE)
    with pytest.raises(AccessRefused), app.connection_for_read() as connection:
        connection.default_channel.queue_declare("celeryev.mine", durable=True)
    assert all(worker.process.poll() is None for worker in vhost.workers)


def test_with_control_it_stops_a_worker_and_still_shows_no_argument(
    vhost: Vhost, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rights,) = [
        each
        for each in permissions_of([], False, flower=Flower(True, control=True))
        if each["user"] == "flower"
    ]
    rights.pop("user")
    vhost.management.call("PUT", "permissions", vhost.name, vhost.user("flower"), **rights)
    app = vhost.client(monkeypatch)
    label = f"{SECRET}-3"
    with running(vhost, place, control=True) as flower:
        flower.hears_workers()
        app.send_task("hold", (label,), queue=QUEUE)
        wait_for(
            lambda: flower.tasks() and flower.tasks()[0]["state"] == "STARTED", START, "a task that runs"
        )
        name = flower.tasks()[0]["worker"]
        # Each look at the page asks the worker anew.
        wait_for(lambda: "hold" in flower.ask(f"/worker/{name}")[1], START, "the worker's page")
        page = flower.ask(f"/worker/{name}")[1]
        assert SECRET not in page
        vhost.release(label)
        assert flower.ask(f"/api/worker/shutdown/{name}", "POST")[0] == 200
        wait_for(lambda: vhost.workers[0].process.poll() is not None, START, "the worker's end")
