#!/usr/bin/python
"""Read the status of a broker's queues and cluster."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.queues import queue

DOCUMENTATION = r"""
module: rabbitmq_status
short_description: Read the status of a broker's queues and cluster
description:
  - Two requests of the management API. Changes nothing.
  - A node that gives no answer is no failure of the module, but what it returns.
options:
  url:
    description: Where the management API is.
    type: str
    required: true
  login_user:
    description: A user with the tag C(monitoring).
    type: str
    required: true
  login_password:
    description: Its password.
    type: str
    required: true
  vhost:
    description: The fleet's vhost.
    type: str
    required: true
  timeout:
    description: Seconds that a request may take.
    type: int
    default: 5
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
  description: Figures of each queue; not there if the node gave no answer.
  type: list
  elements: dict
  returned: when the node answered
obstacles:
  description: What keeps the cluster's nodes from working as they should.
  type: list
  elements: str
  returned: when the node answered
error:
  description: Why there is no answer; empty if there is one.
  type: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "required": True, "no_log": True},
    "vhost": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 5},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    given = module.params
    broker = Management(given["url"], given["login_user"], given["login_password"], given["timeout"])
    try:
        told, obstacles = broker.queues(given["vhost"]), broker.obstacles()
    except BrokerError as error:
        module.exit_json(changed=False, error=str(error))
    now = time.time()
    module.exit_json(changed=False, error="", obstacles=obstacles, queues=[queue(each, now) for each in told])


if __name__ == "__main__":
    main()
