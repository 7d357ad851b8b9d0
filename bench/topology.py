"""Declares the same exchanges, queues, bindings and policies with one module and with one module per object.

Both sides run on the controller and reach the broker's management API through a proxy that counts requests.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent

VHOST: Final = "bench_topology"
# Of the large topology the other side declares so many queues, and its figures are multiplied.
SAMPLE: Final = 25
LARGE: Final = 1000


class Counter(BaseHTTPRequestHandler):
    """Passes requests on and counts them."""

    protocol_version = "HTTP/1.1"
    target: int
    count = 0

    def answer(self) -> None:
        """Pass one request on."""
        type(self).count += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=300)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        self.send_response(response.status)
        for name in ("Content-Type", "Content-Encoding"):
            if value := response.headers.get(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def counted(ssh: Sequence[str], host: str) -> Iterator[int]:
    """Forward the management API of a host here, through the counting proxy; return the proxy's port."""
    Counter.target = free_port()
    # The words are this script's and the inventory's own.
    tunnel = subprocess.Popen(  # noqa: S603
        [*ssh, "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{Counter.target}:127.0.0.1:15672", host]
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", Counter.target), timeout=1).close()
                break
            except ConnectionRefusedError:
                if tunnel.poll() is not None:
                    raise
                time.sleep(0.05)
        with ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield server.server_port
            finally:
                server.shutdown()
                thread.join()
    finally:
        tunnel.terminate()
        tunnel.wait()


def names(exchanges: int, queues: int) -> dict[str, Any]:
    """Return the topology: classic queues, each bound to one of the exchanges and with its own policy."""
    of = [(f"bench_{at % exchanges}", f"bench_{at % exchanges}_{at}") for at in range(queues)]
    return {
        "vhost": VHOST,
        "users": [],
        "permissions": [],
        "exchanges": [
            {
                "name": f"bench_{at}",
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for at in range(exchanges)
        ],
        "queues": [
            {
                "name": queue,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "classic"},
            }
            for _, queue in of
        ],
        "bindings": [
            {
                "source": exchange,
                "destination": queue,
                "destination_type": "queue",
                "routing_key": queue,
                "arguments": {},
            }
            for exchange, queue in of
        ],
        "policies": [
            {
                "name": f"celery_fleet.{queue}",
                "pattern": f"^{queue}$",
                "apply_to": "queues",
                "priority": 0,
                "definition": {"max-length": 100},
            }
            for _, queue in of
        ],
    }


def one_module(topology: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks of this kit."""
    arguments = {
        "topology": topology,
        "passwords": {},
        "login_user": "kit",
        "login_password": "{{ fleet_passwords.kit }}",
        "url": "http://127.0.0.1:{{ bench_port }}",
        "timeout": 300,
    }
    task = {
        "name": "Reconcile",
        "celery_fleet.kit.rabbitmq_topology": arguments,
        "delegate_to": "localhost",
        "become": False,
    }
    return [task]


def module_per_object(topology: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks with one module per object, in loops, as their documentation has them."""
    login = {
        "vhost": VHOST,
        "login_user": "kit",
        "login_password": "{{ fleet_passwords.kit }}",
        "login_host": "127.0.0.1",
        "login_port": "{{ bench_port }}",
    }
    here = {
        "delegate_to": "localhost",
        "become": False,
        "loop_control": {"label": "{{ item.name | default('') }}"},
    }
    return [
        {
            "name": "Exchanges",
            "community.rabbitmq.rabbitmq_exchange": {
                **login,
                "name": "{{ item.name }}",
                "exchange_type": "{{ item.type }}",
            },
            "loop": topology["exchanges"],
            **here,
        },
        {
            "name": "Queues",
            "community.rabbitmq.rabbitmq_queue": {
                **login,
                "name": "{{ item.name }}",
                "arguments": {"x-queue-type": "classic"},
            },
            "loop": topology["queues"],
            **here,
        },
        {
            "name": "Bindings",
            "community.rabbitmq.rabbitmq_binding": {
                **login,
                "name": "{{ item.source }}",
                "destination": "{{ item.destination }}",
                "destination_type": "queue",
                "routing_key": "{{ item.routing_key }}",
            },
            "loop": topology["bindings"],
            **here,
        },
        {
            "name": "Policies",
            "community.rabbitmq.rabbitmq_policy": {
                "vhost": VHOST,
                "name": "{{ item.name }}",
                "pattern": "{{ item.pattern }}",
                "apply_to": "queues",
                "tags": "{{ item.definition }}",
                **{key: value for key, value in login.items() if key != "vhost"},
            },
            "loop": topology["policies"],
            **here,
        },
    ]


def play(
    inventory: str, broker: str, port: int, tasks: Sequence[Mapping[str, Any]]
) -> tuple[float, int, int]:
    """Run tasks, and return the seconds, the requests, and how many tasks changed something.

    Raises:
        subprocess.CalledProcessError: If they fail.
    """
    with tempfile.TemporaryDirectory() as place:
        book = Path(place) / "bench.yml"
        (Path(place) / "group_vars").symlink_to(ROOT / "group_vars")
        book.write_text(
            json.dumps([{"name": "Bench", "hosts": broker, "gather_facts": False, "tasks": tasks}])
        )
        Counter.count = 0
        begin = time.perf_counter()
        python = {"ansible_playbook_python": sys.executable, "bench_port": port}
        # The environment's own Ansible, with words of this script.
        process = subprocess.run(  # noqa: S603
            ["ansible-playbook", "-i", inventory, str(book), "-e", json.dumps(python)],  # noqa: S607
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "json", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            check=False,
            capture_output=True,
            text=True,
        )
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"{process.stdout[-3000:]}{process.stderr[-2000:]}")
    recap = json.loads(process.stdout[process.stdout.index("{") :])["stats"].get(broker, {"changed": 0})
    return seconds, Counter.count, recap["changed"]


def api(port: int, password: str, method: str, path: str, body: object = None) -> None:
    """Call the management API, for what is created before and removed after."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    token = base64.b64encode(f"kit:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    connection.getresponse().read()
    connection.close()


@contextmanager
def requests_installed() -> Iterator[None]:
    """Install what the other side's modules need and the kit doesn't, for as long as it is measured."""
    with tempfile.TemporaryDirectory() as place:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", place, "requests"], check=True)  # noqa: S603 - an argument list
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = f"{place}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PYTHONPATH"] = before


def main(arguments: Sequence[str]) -> None:
    """Measure with the inventory, and the broker, that the command line names."""
    parser = argparse.ArgumentParser(prog="scripts/run bench.topology", description=__doc__)
    parser.add_argument("inventory", help="of a lab")
    parser.add_argument("broker", nargs="?", help="which host of it; the first broker by default")
    options = parser.parse_args(arguments)
    with requests_installed():
        measure(options.inventory, options.broker)


def measure(inventory: str, broker: str | None) -> None:
    """Measure both sides at both sizes, and print the ratios; leaves the broker as it was."""
    listed = json.loads(
        subprocess.run(  # noqa: S603
            ["ansible-inventory", "-i", inventory, "--list"],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    broker = broker or listed["brokers"]["hosts"][0]
    hostvars = listed["_meta"]["hostvars"][broker]
    lab = hostvars["lab_state_dir"].replace("{{ ansible_config_file | dirname }}", str(ROOT))
    state = Path(lab.replace("{{ lab_name }}", str(hostvars["lab_name"])))
    password = yaml.safe_load((Path(inventory) / ".secrets" / "vault.yml").read_text())["kit"]

    def fresh(port: int) -> None:
        api(port, password, "DELETE", f"/api/vhosts/{VHOST}")
        api(port, password, "DELETE", f"/api/global-parameters/celery_fleet.{VHOST}")
        api(port, password, "PUT", f"/api/vhosts/{VHOST}", {})
        api(
            port,
            password,
            "PUT",
            f"/api/permissions/{VHOST}/kit",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )

    with counted(["ssh", "-F", str(state / "ssh_config")], broker) as port:
        empty, _, _ = play(inventory, broker, port, [])
        print(f"Ansible's own start, {empty:.1f} s, is taken off every time.\n")
        head = f"{'':34}{'seconds':>10}{'requests':>10}"
        for label, exchanges, queues in (("4 exchanges, 10 queues", 4, 10), (f"{LARGE} queues", 4, LARGE)):
            sample = min(queues, SAMPLE)
            scale = queues / sample
            rows = {}
            for side, tasks, size in (
                ("one module", one_module, queues),
                ("a module per object", module_per_object, sample),
            ):
                fresh(port)
                topology = names(exchanges, size)
                for state_name in ("cold", "unchanged"):
                    seconds, requests, changed = play(inventory, broker, port, tasks(topology))
                    if (state_name == "unchanged") == bool(changed):
                        sys.exit(f"{side}, {state_name}: {changed} tasks changed something")
                    by = scale if tasks is module_per_object else 1
                    rows[side, state_name] = ((seconds - empty) * by, requests * by)
            print(
                f"{label}{f' (a module per object: {sample} queues, times {scale:g})' if scale > 1 else ''}"
            )
            print(head)
            for (side, state_name), figures in rows.items():
                print(f"{f'{side}, {state_name}':34}{figures[0]:10.1f}{figures[1]:10.0f}")
            for state_name in ("cold", "unchanged"):
                one, other = rows["one module", state_name], rows["a module per object", state_name]
                print(f"{f'ratio, {state_name}':34}{other[0] / one[0]:9.0f}x{other[1] / one[1]:9.0f}x")
            print()
        api(port, password, "DELETE", f"/api/vhosts/{VHOST}")
        api(port, password, "DELETE", f"/api/global-parameters/celery_fleet.{VHOST}")


if __name__ == "__main__":
    main(sys.argv[1:])
