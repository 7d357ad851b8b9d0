"""The workers of this scenario's hosts, and the verbs that change them."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fleet.host.names import Name

from support.scenario import MOLECULE, ROOT, Scenario, serving, until

BROKER, FIRST, SECOND = "molecule-worker-broker", "molecule-worker-13", "molecule-worker-12"
PYTHON = "/opt/probe/current/venv/bin/python"
TRACES = "/var/lib/celery-fleet/traces"
AS_WORKER = "runuser -u celery-fleet --"

PROBE = (MOLECULE / "worker/files/probe.py").read_text()

Hosts = Callable[[str], Any]


class Worker:
    """One pool's worker on one host, and a way to give it tasks that no other host gets.

    Args:
        host: The testinfra host.
        plan: The pool's plan there.
    """

    def __init__(self, host: Any, plan: dict[str, Any]) -> None:
        self.host = host
        self.plan = plan
        self.unit, self.node = serving(host, plan)

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return str(self.host.check_output(f"systemctl show --property={name} --value {self.unit}"))

    def send(self, held: bool = False) -> str:
        """Publish a task to the pool's first queue, and return the file that it will write.

        Args:
            held: Whether it goes on until it is told to end.
        """
        return self._send("trace", held)

    def given(self) -> dict[str, str]:
        """Return hashes of what a task of the pool finds in its environment, or in the files there."""
        path = self._send("environment")
        until(lambda: self.trace(path), f"{path} is written by {self.unit}", 90)
        found: dict[str, str] = json.loads(self.host.check_output(f"cat {path}"))
        return found

    def attempted(self, **tries: Sequence[object]) -> dict[str, str]:
        """Return what became of what a task of the pool tried, as `probe.attempt` does it."""
        path = self._send("attempt", tries)
        until(lambda: self.trace(path), f"{path} is written by {self.unit}", 30)
        verdicts: dict[str, str] = json.loads(self.host.check_output(f"cat {path}"))
        return verdicts

    def _send(self, task: str, *arguments: object) -> str:
        self.host.check_output(f"install -d -m 0770 -o celery-fleet -g celery-fleet {TRACES}")
        path = f"{TRACES}/{uuid.uuid4()}"
        queue = min(self.plan["queues"])
        send = f"apply_async({(path, *arguments)}, queue='{queue}')"
        code = f"import probe; probe.app.tasks['probe.{task}'].{send}"
        self.host.check_output(f'{AS_WORKER} {PYTHON} -c "{code}"')
        return path

    def trace(self, path: str) -> list[str]:
        """Return the lines that a task wrote so far."""
        return str(self.host.run(f"cat {path}").stdout).split()

    def end(self, path: str) -> None:
        """Let a task that is held end."""
        self.host.check_output(f"touch {path}.end")

    def begun(self, path: str, times: int = 1, seconds: float = 90) -> None:
        until(
            lambda: self.trace(path).count("begin") >= times,
            f"{path} is begun {times} times by {self.unit}",
            seconds,
        )

    def ended(self, path: str, seconds: float = 90) -> list[str]:
        until(lambda: "end" in self.trace(path), f"{path} is finished by {self.unit}", seconds)
        return self.trace(path)

    def active(self, seconds: float = 90) -> None:
        until(lambda: self.show("ActiveState") == "active", f"{self.unit} is active", seconds)

    def stopped(self) -> None:
        until(lambda: self.show("ActiveState") == "inactive", f"{self.unit} is stopped", 90)

    def children(self) -> list[int]:
        main = self.show("MainPID")
        return [int(pid) for pid in self.host.run(f"pgrep --parent {main}").stdout.split()]


class Fleet:
    """The hosts of the scenario, and the verbs."""

    def __init__(self, scenario: Scenario, host: Hosts, place: Path) -> None:
        self.scenario, self.host, self.place = scenario, host, place
        self.plans = scenario.variables("worker_plan")

    def worker(self, name: str, pool: str) -> Worker:
        """Return the worker that serves a pool now."""
        return Worker(self.host(name), self.plans[name]["worker_plan"]["pools"][pool])

    def command(
        self,
        verb: str,
        *limit: str,
        code: str = "",
        lock: str = "",
        app: dict[str, Any] | None = None,
        **extra: Any,
    ) -> list[str]:
        """Return the command of a verb, with a release of this code and further fields of the application."""
        source = self.place / "source"
        source.mkdir(exist_ok=True)
        (source / "probe.py").write_text(PROBE + code)
        (source / "requirements.lock").write_text(
            (ROOT / "examples/demo/requirements.lock").read_text() + lock
        )
        app = (app or {}) | {
            "name": "probe",
            "celery_app": "probe:app",
            "source": {"type": "directory", "path": str(source)},
            "requirements": "requirements.lock",
            "python": "python3",
            "wheelhouse": False,
            "keep_releases": 3,
            "environment": {},
        }
        values = {"fleet_app": app, "worker_watchdog": 15, "worker_start_timeout": 30, "worker_probation": 2}
        values |= extra
        limited = [f"--limit={','.join(limit)}"] if limit else []
        options = [f"--inventory={self.scenario.inventory}", *limited, f"--extra-vars={json.dumps(values)}"]
        return ["ansible-playbook", *options, str(ROOT / "playbooks" / f"{verb}.yml")]

    def run(
        self, verb: str, *limit: str, fails: bool = False, options: Sequence[str] = (), **more: Any
    ) -> str:
        """Run a verb, and return its output."""
        process = subprocess.run(
            [*self.command(verb, *limit, **more), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (process.returncode != 0) == fails, process.stdout + process.stderr
        return process.stdout + process.stderr

    def files(self, name: str) -> list[str]:
        """Return the files of instances on a host."""
        listed = self.host(name).check_output("ls /etc/systemd/system")
        return [file for file in listed.split() if Name.parse(file)]


def serves(worker: Worker) -> None:
    assert worker.ended(worker.send()) == ["begin", "end"]
