#!/usr/bin/python
"""Read everything that decides what is to be done on one node of a RabbitMQ cluster."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.node import (
    expression,
    internode_tls,
    read,
    uneven,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.disk import BROKER_DATA, size_mib
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.packages import missing
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import (
    SystemdError,
    call,
    units_and_files,
)

DOCUMENTATION = r"""
module: rabbitmq_node
short_description: Read everything that decides what is to be done on one node of a RabbitMQ cluster
description:
  - One round trip, and one C(rabbitmqctl). Needs root on the node's host. Changes nothing.
options:
  names:
    description: Host names of the cluster's nodes, whose addresses the node is asked for.
    type: list
    elements: str
    required: true
  nodes:
    description: Names of the desired nodes, such as V(rabbit@broker1).
    type: list
    elements: str
    required: true
  vhost:
    description: The fleet's virtual host.
    type: str
    required: true
  packages:
    description: Packages that the host needs.
    type: list
    elements: str
    required: true
  files:
    description: By unit the files that it reads at its start; RV(stale) lists those that are newer.
    type: dict
    required: true
extends_documentation_fragment: [celery_fleet.kit.broker_login]
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Look at the node
  celery_fleet.kit.rabbitmq_node:
    names: [broker1]
    nodes: [rabbit@broker1]
    vhost: celery_fleet
    packages: [rabbitmq-server]
    files: {rabbitmq-server.service: [/etc/rabbitmq/enabled_plugins]}
    url: http://127.0.0.1:15672
    login_user: kit
    login_password: "{{ password }}"
"""

RETURN = r"""
installed:
  description: Whether a broker is installed.
  type: bool
  returned: always
missing_packages:
  description: Those of O(packages) that are not installed.
  type: list
  elements: str
  returned: always
disk_mib:
  description: Size of the file system that holds, or will hold, the broker's data.
  type: int
  returned: always
units:
  description: Of each unit in O(files) its C(active) and its C(enabled) state.
  type: dict
  returned: always
stale:
  description: Of each unit in O(files) those of its files that are newer than its start.
  type: dict
  returned: always
node:
  description: What the node reports; empty if it does not answer.
  type: dict
  returned: always
internode_tls:
  description: Whether the node speaks TLS with the others of its cluster; none of one that is new or alone.
  type: bool
  returned: always
uneven:
  description: Whether quorum queues lack members on nodes, or leaders are spread unevenly.
  type: bool
  returned: always
admitted:
  description: Whether the kit's user can administer the broker with this password.
  type: bool
  returned: always
"""

SERVER = "/usr/sbin/rabbitmq-server"
SETTINGS = Path("/etc/rabbitmq/rabbitmq-env.conf")

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "names": {"type": "list", "elements": "str", "required": True},
    "nodes": {"type": "list", "elements": "str", "required": True},
    "vhost": {"type": "str", "required": True},
    "packages": {"type": "list", "elements": "str", "required": True},
    "files": {"type": "dict", "required": True},
}


def admitted(params: dict[str, Any]) -> bool:
    """Return whether the kit's user can administer the broker."""
    login = base64.b64encode(f"{params['login_user']}:{params['login_password']}".encode()).decode()
    headers = {"Authorization": f"Basic {login}"}
    request = urllib.request.Request(f"{params['url']}/api/whoami", headers=headers)  # noqa: S310 - http
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=params["timeout"]) as answer:
            return "administrator" in json.load(answer)["tags"]
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


def ask(module: AnsibleModule) -> dict[str, Any]:
    """Read the node's state; empty if it does not answer, or is about to stop."""
    command = ["rabbitmqctl", "--quiet", "--timeout", str(module.params["timeout"]), "eval"]
    status, printed, _ = module.run_command([*command, expression(module.params["names"])])
    return read(printed) if status == 0 else {}


def arguments(runs: bool) -> str:
    """Return the broker's command line, or the file with its settings if it does not run."""
    if runs:
        # It may have ended since.
        with suppress(OSError, SystemdError):
            process = call("systemctl", "show", "--property=MainPID", "--value", "rabbitmq-server.service")
            return Path(f"/proc/{process.strip()}/cmdline").read_bytes().decode(errors="replace")
    return SETTINGS.read_text() if SETTINGS.is_file() else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params = module.params
    try:
        units, stale = units_and_files(params["files"])
    except SystemdError as error:
        module.fail_json(msg=str(error))
    installed = Path(SERVER).exists()
    # Without the service its command would only wait for an answer.
    runs = installed and units["rabbitmq-server.service"]["active"] == "active"
    node = ask(module) if runs else {}
    queues = node.pop("queues", None)
    module.exit_json(
        changed=False,
        installed=installed,
        missing_packages=missing(params["packages"]),
        disk_mib=size_mib(BROKER_DATA),
        units=units,
        stale=stale,
        node=node,
        internode_tls=internode_tls(arguments(runs)) if installed else None,
        uneven=uneven(queues, params["vhost"], params["nodes"]),
        admitted=bool(node.get("running")) and admitted(params),
    )


if __name__ == "__main__":
    main()
