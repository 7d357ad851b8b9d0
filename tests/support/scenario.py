"""What the tests of all scenarios share: the scenario's hosts, and what the model says about them."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # testinfra has no types

import testinfra
import yaml
from fleet.host.names import Name, Node

ROOT = Path(__file__).parents[2]
MOLECULE = ROOT / "molecule"
LAB = ROOT / ".lab" / "molecule"


@functools.cache
def _control_directory() -> str:
    """Return a directory for SSH's control sockets, whose paths must be short."""
    return tempfile.mkdtemp(prefix="fleet-ssh-")


@dataclass(frozen=True)
class Scenario:
    """The hosts of one scenario.

    Args:
        name: The scenario's name, which is that of its folder.
    """

    name: str
    groups: dict[str, list[str]] = field(init=False, repr=False)
    hostvars: dict[str, dict[str, Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the inventory."""
        inventory = json.loads(self._ansible("ansible-inventory", "--list"))
        object.__setattr__(self, "hostvars", inventory.pop("_meta")["hostvars"])
        object.__setattr__(self, "groups", {name: _members(inventory, name) for name in inventory})

    @property
    def inventory(self) -> Path:
        """Directory of the scenario's inventory."""
        return MOLECULE / self.name / "inventory"

    @property
    def hosts(self) -> list[str]:
        """Names of all hosts of the scenario."""
        return sorted(self.hostvars)

    def address(self, host: str) -> str:
        """Return the address of `host`."""
        return str(self.hostvars[host]["ansible_host"])

    def password(self, user: str) -> str:
        """Return the broker's password of `user`."""
        return self.secrets[user]

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret of the scenario by its name: passwords, the cookie, private keys."""
        content = yaml.safe_load((self.inventory / ".secrets" / "vault.yml").read_text())
        return {name: value for name, value in content.items() if not name.endswith("certificate")}

    def connect(self, host: str) -> Any:
        """Return the testinfra host of `host`, reached by SSH, with root's rights."""
        # A host that was started anew must not leave a connection that waits for it.
        alive = "-o ServerAliveInterval=2 -o ServerAliveCountMax=5"
        shared = f"-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={_control_directory()}/%C"
        return testinfra.get_host(
            f"ssh://{host}", ssh_config=str(LAB / "ssh_config"), ssh_extra_args=f"{alive} {shared}", sudo=True
        )

    def variables(self, *names: str) -> dict[str, dict[str, Any]]:
        """Return the values of variables as Ansible sees them, facts gathered.

        Args:
            names: Variables that every host of the scenario has, e.g. ``worker_plan``.

        Returns:
            For each host a dictionary of its variables.
        """
        with tempfile.TemporaryDirectory() as directory:
            extra = json.dumps({"variables": names, "directory": directory})
            self._ansible("ansible-playbook", str(MOLECULE / "dump_variables.yml"), "--extra-vars", extra)
            return {path.stem: json.loads(path.read_text()) for path in Path(directory).glob("*.json")}

    def _ansible(self, *command: str) -> str:
        """Run one of Ansible's commands on this scenario's inventory and return what it prints."""
        result = subprocess.run(
            [*command, "--inventory", str(self.inventory)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise AssertionError(f"{shlex.join(command)} failed:\n{result.stdout}\n{result.stderr}")
        return result.stdout


def until(holds: Callable[[], Any], what: str, seconds: float) -> Any:
    """Wait for a condition, and return its value.

    Args:
        holds: Returns something true when it holds.
        what: The condition in words, for the message of a failure.
        seconds: How long to wait at most.

    Raises:
        AssertionError: It does not hold in time.
    """
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(0.3)
    return value


def serving(host: Any, plan: dict[str, Any]) -> tuple[str, str]:
    """Return unit and node of a pool's instance that is started at boot, of those that run side by side.

    Args:
        host: The testinfra host.
        plan: The pool's plan there.
    """
    pattern = plan["unit"].replace("@", "@*")
    (unit,) = host.check_output(f"cd /etc/systemd/system/multi-user.target.wants && ls -d {pattern}").split()
    name, node = Name.parse(unit), Node.parse(plan["node"])
    assert name and node, unit
    return unit, str(node.numbered(name.number))


def planned_node(node: str) -> str:
    """Return the plan's name of a node, which leaves out the number of its instance."""
    name = Node.parse(node)
    assert name, node
    return name.planned


def inspect(host: Any, plan: dict[str, Any], *commands: str) -> list[Any]:
    """Return the answers of the running node of a pool of the demo to inspect commands.

    Args:
        host: The testinfra host.
        plan: The pool's plan there.
        commands: What to ask, e.g. ``stats``.
    """
    _, node = serving(host, plan)
    code = (
        "import json; from demo.app import app; "
        f"ask = app.control.inspect([{node!r}], timeout=10, limit=1); "
        f"print(json.dumps([getattr(ask, each)()[{node!r}] for each in {commands!r}]))"
    )
    answer = host.check_output(
        f"runuser -u celery-fleet -- env CELERY_FLEET_POOL={plan['name']} HOME=/tmp "
        f"/opt/demo/current/venv/bin/python -c {shlex.quote(code)}"
    )
    answers: list[Any] = json.loads(answer)
    return answers


def remote(name: str, code: str, given: dict[str, str]) -> str:
    """Run Python on a host as root, and return what it prints; code and secrets travel by standard input.

    Args:
        name: The host's name.
        code: What to run; it finds the secrets in ``given``.
        given: The secrets by name.

    Raises:
        AssertionError: It failed.
    """
    __tracebackhide__ = True  # a report of a failure would show the secrets
    result = subprocess.run(
        ["ssh", "-F", str(LAB / "ssh_config"), name, "sudo", "python3", "-"],
        input=f"given = {given!r}\n{code}",
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise AssertionError(f"{name}: {result.stderr}")
    return result.stdout.strip()


@contextmanager
def tunnel(name: str, address: str, port: int) -> Iterator[str]:
    """Reach a port of a host's own loopback interface through SSH.

    Args:
        name: The host's name.
        address: Its address in the lab.
        port: The port there, and here.

    Yields:
        The address here, which no other host's tunnel has.
    """
    here = f"127.0.6.{address.rpartition('.')[2]}"
    command = ["ssh", "-F", str(LAB / "ssh_config"), "-S", str(LAB / f"tunnel-{name}-{port}")]
    forward = ["-M", "-f", "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{here}:{port}:127.0.0.1:{port}"]
    subprocess.run([*command, *forward, name], check=True)
    try:
        yield here
    finally:
        subprocess.run([*command, "-O", "exit", name], check=True, capture_output=True)


def journal(host: Any, unit: str, lines: int = 200) -> str:
    """Return the last lines of the journal of a unit on a host."""
    command = f"journalctl --no-pager --output=short-precise --lines={lines} --unit={shlex.quote(unit)}"
    return str(host.check_output(command))


def failures(scenario: Scenario) -> str:
    """Return what an operator would look at first: the failed units of all hosts, and their journals."""
    report = []
    for name in scenario.hosts:
        host = scenario.connect(name)
        try:
            failed = host.run(
                "systemctl list-units --all --plain --no-legend "
                "--state=failed,activating,deactivating,auto-restart"
            )
        except RuntimeError as error:
            report.append(f"== {name} does not answer: {error}")
            continue
        for line in failed.stdout.splitlines():
            unit = line.split()[0]
            report.append(f"== {name}: {line}\n{journal(host, unit, lines=40)}")
    return "\n".join(report) or "No unit of any host has failed."


def _members(inventory: dict[str, Any], group: str) -> list[str]:
    """Return the hosts of a group and of its children."""
    entry = inventory.get(group, {})
    nested = [host for child in entry.get("children", []) for host in _members(inventory, child)]
    return sorted({*entry.get("hosts", []), *nested})
