#!/usr/bin/python
"""Make or remove the staging queue of a move."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.counts import counter
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.staging import (
    STAGING,
    create,
    remove,
)

DOCUMENTATION = r"""
module: rabbitmq_staging
short_description: Make or remove the staging queue of a move
description:
  - What is moved in from another broker is published to this queue, leaves the other broker, and is then
    moved by this broker to its own queue. So a move that was killed can be told from one that was not.
  - Makes an exchange before the queue, one behind it, and a user who can do nothing else.
options:
  topology:
    description: The desired topology, as in M(celery_fleet.kit.rabbitmq_topology).
    type: dict
    required: true
  user_password:
    description: Password of the user; a new one each time.
    type: str
  state:
    description: V(absent) removes all of it if nothing waits there.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: [celery_fleet.kit.broker_login]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Make the staging queue
  celery_fleet.kit.rabbitmq_staging:
    topology: "{{ broker_topology }}"
    user_password: "{{ password }}"
    login_user: kit
    login_password: "{{ broker_passwords.kit }}"
"""

RETURN = r"""
name:
  description: Of the queue, the exchange before it and their user.
  type: str
  returned: success
waiting:
  description: Tasks that wait there for room in the queues of the fleet; if any, nothing was removed.
  type: int
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "topology": {"type": "dict", "required": True},
    "user_password": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ["user_password"])],
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=True, waiting=0, name=STAGING)
    broker = Management(params["url"], params["login_user"], params["login_password"], params["timeout"])
    waiting = 0
    try:
        if params["state"] == "present":
            create(broker, params["topology"], params["user_password"])
        else:
            count = counter(lambda argv: module.run_command(argv), params["topology"]["vhost"])
            waiting = remove(broker, params["topology"]["vhost"], count)
    except BrokerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, waiting=waiting, name=STAGING)


if __name__ == "__main__":
    main()
