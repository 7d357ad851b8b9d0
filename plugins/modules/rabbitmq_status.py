#!/usr/bin/python
"""Read the status of a broker's queues and cluster."""

from __future__ import annotations

import pwd
import time
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.queues import queue
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.listeners import owners

DOCUMENTATION = r"""
module: rabbitmq_status
short_description: Read the status of a broker's queues and cluster
description:
  - Two requests of the management API; on the broker's host only if RabbitMQ's user listens there.
  - If the node does not answer, the module does not fail but returns why.
options:
  vhost:
    description: The fleet's vhost.
    type: str
    required: true
  timeout:
    description: Seconds that a request may take.
    type: int
    default: 5
  on_host:
    description: Whether the broker runs on this host, where anybody may listen while it is down.
    type: bool
    default: true
  ca_file:
    description: Authorities of the certificate of O(url); by default those of the system.
    type: path
extends_documentation_fragment: [celery_fleet.kit.broker_login]
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Ask about the queues
  celery_fleet.kit.rabbitmq_status:
    url: http://127.0.0.1:15672
    login_user: monitor
    login_password: "{{ broker_passwords.monitor }}"
    vhost: celery_fleet
"""

RETURN = r"""
queues:
  description: Figures of each queue.
  type: list
  elements: dict
  returned: when the node answered
obstacles:
  description: What keeps the cluster's nodes from working.
  type: list
  elements: str
  returned: when the node answered
error:
  description: Why there is no answer; empty if there is one.
  type: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "vhost": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 5},
    "ca_file": {"type": "path"},
    "on_host": {"type": "bool", "default": True},
}


def foreign(port: int) -> str:
    """Return why a port of this host is told no password; empty if RabbitMQ has it, or nobody."""
    try:
        broker = {pwd.getpwnam("rabbitmq").pw_uid}
    except KeyError:
        broker = set()
    users = sorted(owners(port) - broker)
    return (
        f"Not RabbitMQ but user {users[0]} listens on port {port}, so it is told no password" if users else ""
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params = module.params
    if params["on_host"] and (stranger := foreign(urlsplit(params["url"]).port or 80)):
        module.exit_json(changed=False, error=stranger)
    try:
        broker = Management(
            params["url"],
            params["login_user"],
            params["login_password"],
            params["timeout"],
            params["ca_file"],
        )
        queues, obstacles = broker.queues(params["vhost"]), broker.obstacles()
    except BrokerError as error:
        module.exit_json(changed=False, error=str(error))
    now = time.time()
    module.exit_json(
        changed=False, error="", obstacles=obstacles, queues=[queue(each, now) for each in queues]
    )


if __name__ == "__main__":
    main()
