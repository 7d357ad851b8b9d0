"""Real runs of Ansible on inventories whose hosts nobody has."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.fleet_model import HOSTS, ROOT

COLLECTIONS = ROOT / "collections"
FACTS = {
    host: {"processor_vcpus": cores, "memtotal_mb": memory} for host, (_, cores, memory) in HOSTS.items()
}

PREFLIGHT = {
    "hosts": "localhost",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.import_role": {"name": "preflight"}}],
}
# What each worker would get, with the role's own defaults in force although none of its tasks runs.
ANSWER = {
    "hosts": "workers",
    "gather_facts": False,
    "vars": {
        "app_release": "r1",
        "__plan": {"plan": "{{ worker_plan }}", "units": "{{ __worker_given }}"},
        "__answer": "{{ __plan | combine(dict(file=app_fleet_file, topology=broker_topology)) }}",
    },
    "tasks": [
        {"ansible.builtin.import_role": {"name": "worker"}, "when": False},
        {"write": {"path": "{{ out }}/{{ inventory_hostname }}.json", "content": "{{ __answer | to_json }}"}},
    ],
}


def facts(hosts: str = "workers", **values: object) -> dict[str, Any]:
    """Return a play that sets each host's facts without reading them from it."""
    fixed = {
        "cacheable": True,
        "nodename": "{{ inventory_hostname }}",
        "distribution": "Debian",
        "distribution_version": "13.1",
    }
    return {
        "hosts": hosts,
        "gather_facts": False,
        "tasks": [{"ansible.builtin.set_fact": fixed | values}],
    }


def tool(name: str) -> str:
    """Return a program of the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


def environment() -> dict[str, str]:
    """Return the environment in which Ansible finds the collection and nothing of the user's."""
    return os.environ | {
        "ANSIBLE_ACTION_PLUGINS": str(ROOT / "tests/support/action_plugins"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
    }


@cache
def server(**variables: str) -> subprocess.Popen[str]:
    """Start the process that runs Ansible's programs until the tests end."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/support/ansible_server.py")],
        env=environment() | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def ansible(*command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        variables: Variables of the environment, beside those of `environment`.

    Returns:
        What it printed and how it ended.
    """
    process = server(**variables)
    assert process.stdin and process.stdout
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        print(json.dumps([command, str(cwd), out.name, err.name]), file=process.stdin, flush=True)
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


class Run:
    """Playbooks on an inventory, beside the repository's model, and what they wrote of each worker."""

    def __init__(self, path: Path, inventory: Path, plays: Sequence[Mapping[str, Any]]) -> None:
        self.path = path
        self.inventory = inventory
        # A directory of links, so that a test can add a file to the model.
        (path / "group_vars/all").mkdir(parents=True)
        for file in (ROOT / "group_vars/all").iterdir():
            (path / "group_vars/all" / file.name).symlink_to(file)
        (path / "out").mkdir()
        (path / "play.yml").write_text(yaml.safe_dump(plays))

    def run(self, *options: str, playbooks: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run playbooks of the repository, then the plays."""
        books = [*(str(ROOT / "playbooks" / name) for name in playbooks), "play.yml"]
        arguments = ["-i", str(self.inventory), "-e", f"out={self.path}/out", *options]
        return ansible("ansible-playbook", *arguments, *books, cwd=self.path)

    def result(self, host: str) -> Any:
        """Return the plan, the file, the topology and the units that a host got."""
        return json.loads((self.path / "out" / f"{host}.json").read_text())

    def unit(self, host: str, pool: str) -> str:
        """Return the text of a pool's unit on a host, with joined lines."""
        text: str = self.result(host)["units"][pool]["unit"]
        return text.replace("\\\n", " ")


class Inventory(Run):
    """An inventory that a test changes, beside the repository's model."""

    def __init__(self, path: Path) -> None:
        fake = facts(
            "brokers:workers",
            processor_vcpus="{{ fake.processor_vcpus }}",
            memtotal_mb="{{ fake.memtotal_mb }}",
            distribution="{{ fake.distribution | default('Debian') }}",
        )
        super().__init__(path, path / "inventory", [fake, PREFLIGHT, ANSWER])
        self.inventory.mkdir()
        workers = {
            groups[0]: {"hosts": {host: {"fake": FACTS[host]}}} for host, (groups, _, _) in HOSTS.items()
        }
        brokers = {"broker1": {"fake": FACTS["cpu1"]}}
        self.write("hosts.yml", {"brokers": {"hosts": brokers}, "workers": {"children": workers}})

    def write(self, name: str, data: object) -> None:
        """Write a file of the inventory."""
        path = self.inventory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(data))
