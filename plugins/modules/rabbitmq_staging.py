#!/usr/bin/python
"""Make or remove the staging queues of a move."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.counts import counter
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.staging import (
    STAGING,
    admit,
    create,
    dismiss,
    remove,
    routes,
)

DOCUMENTATION = r"""
module: rabbitmq_staging
short_description: Make or remove the staging queues of a move
description:
  - What is moved in from another broker is published to this queue, leaves the other broker, and is then
    moved by this broker to its own queue. So a move that was killed can be told from one that was not.
  - Makes an exchange before the queue, one behind it, and a user who can do nothing else.
  - What is moved from a former broker of the fleet has a staging queue for each exchange.
options:
  topology:
    description: The desired topology, as in M(celery_fleet.kit.rabbitmq_topology).
    type: dict
    required: true
  user_password:
    description: Password of the user; a new one each time.
    type: str
  of:
    description:
      - V(stranger) is for tasks of another broker, V(successor) for messages of a former broker of the fleet.
      - V(former) is for that one itself, where there is only a user who reads its queues.
    type: str
    choices: [stranger, successor, former]
    default: stranger
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
routes:
  description: How messages of a former broker get to each exchange, as C(celery_fleet) takes it.
  type: list
  elements: dict
  returned: success
waiting:
  description: Tasks that wait there for room in the queues of the fleet; if any, nothing was removed.
  type: int
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "topology": {"type": "dict", "required": True},
    "user_password": {"type": "str", "no_log": True},
    "of": {"type": "str", "choices": ["stranger", "successor", "former"], "default": "stranger"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ["user_password"])],
    )
    params = module.params
    topology, former = params["topology"], params["of"] == "former"
    ways = routes(topology) if params["of"] == "successor" else []
    result: dict[str, Any] = {"changed": True, "waiting": 0, "name": STAGING, "routes": ways}
    if module.check_mode:
        module.exit_json(**result)
    broker = Management(params["url"], params["login_user"], params["login_password"], params["timeout"])
    try:
        if params["state"] == "present" and former:
            admit(broker, topology, params["user_password"])
        elif params["state"] == "present":
            create(broker, topology, params["user_password"], ways)
        elif former:
            dismiss(broker, topology["vhost"])
        else:
            count = counter(lambda argv: module.run_command(argv), topology["vhost"])
            queues = [way["staging"] for way in ways] or [STAGING]
            result["waiting"] = remove(broker, topology["vhost"], count, queues)
    except BrokerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
