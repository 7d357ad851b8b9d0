#!/usr/bin/python
"""Reconcile the topology of a Celery fleet with a RabbitMQ broker."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.rabbitmq import (
    FIXED_KINDS,
    BrokerError,
    Management,
    current_state,
    desired_state,
    import_document,
    removable,
    worth_listing,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.reconcile import (
    Difference,
    Plan,
    before_and_after,
    plan,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.topology import for_broker_version

DOCUMENTATION = r"""
module: rabbitmq_topology
short_description: Reconcile a vhost, its users, rights, exchanges, queues, bindings and policies
description:
  - Reads the broker's definitions in one request of the management API, compares all attributes, creates and
    changes what differs in one more, and reads again to verify that nothing differs any more.
  - Removes only the user C(guest), bindings from one of the topology's exchanges to one of its queues or
    exchanges, and policies that the model named (C(celery_fleet.*)). Everything else that exists and isn't
    wanted is listed and left alone.
  - Policy keys that the broker's version doesn't know are left out, and the result says which.
  - Stops before anything is applied if a queue or an exchange differs, because neither can be changed in
    place.
options:
  topology:
    description:
      - What is wanted, as the filter P(celery_fleet.kit.topology#filter) gives it; V(vhost) and the lists
        V(users), V(permissions), V(exchanges), V(queues), V(bindings) and V(policies), each entry complete
        and with the names of RabbitMQ's definitions (V(apply_to) for C(apply-to)).
    type: dict
    required: true
  passwords:
    description: Password of each of the topology's users.
    type: dict
    required: true
  login_user:
    description: A user with the tag C(administrator).
    type: str
    required: true
  login_password:
    description: Its password.
    type: str
    required: true
  url:
    description: Address of the management API.
    type: str
    default: http://127.0.0.1:15672
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 30
  broker_absent:
    description: The broker isn't there yet, as in a check before the first run; everything is shown as new.
    type: bool
    default: false
author: celery-fleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Reconcile the topology
  celery_fleet.kit.rabbitmq_topology:
    topology: "{{ broker_topology }}"
    passwords: "{{ broker_passwords }}"
    login_user: kit
    login_password: "{{ broker_passwords.kit }}"
"""

RETURN = r"""
created:
  description: Objects that were (or would be) created.
  type: list
  elements: str
  returned: success
updated:
  description: Objects that were (or would be) changed in place.
  type: list
  elements: str
  returned: success
removed:
  description: Objects that were (or would be) removed.
  type: list
  elements: str
  returned: success
unmanaged:
  description: Objects of the vhost that the model doesn't have and that were left alone.
  type: list
  elements: str
  returned: success
dropped:
  description: Settings of policies that were left out because the broker's version doesn't know them.
  type: list
  elements: str
  returned: success
version:
  description: Version of the broker; null if it isn't there yet.
  type: str
  returned: success
requests:
  description: Number of requests that were made.
  type: int
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "topology": {"type": "dict", "required": True},
    "passwords": {"type": "dict", "required": True, "no_log": True},
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "required": True, "no_log": True},
    "url": {"type": "str", "default": "http://127.0.0.1:15672"},
    "timeout": {"type": "int", "default": 30},
    "broker_absent": {"type": "bool", "default": False},
}


class Topology:
    """The topology that is wanted, and the broker that should have it."""

    def __init__(self, params: dict[str, Any], broker: Management) -> None:
        self._wanted: dict[str, Any] = params["topology"]
        self._passwords: dict[str, str] = params["passwords"]
        self._broker = broker
        self._vhost: str = self._wanted["vhost"]
        self.version: str | None = None
        self.dropped: set[str] = set()

    def without_passwords(self) -> list[str]:
        return sorted({user["name"] for user in self._wanted["users"]} - self._passwords.keys())

    def plan(self, definitions: dict[str, Any]) -> Plan:
        self.version = definitions.get("rabbitmq_version")
        wanted = for_broker_version(self._wanted, self.version) if self.version else self._wanted
        self.dropped = policy_keys(self._wanted) - policy_keys(wanted)
        return plan(
            current_state(definitions, wanted, self._passwords),
            desired_state(wanted),
            fixed=FIXED_KINDS,
            removable=removable(wanted),
        )

    def apply(self, todo: Plan) -> Plan:
        """Apply a plan and return what is still to do after it: nothing, if the broker did as it was told."""
        document = import_document(todo.create + todo.change, self._vhost, self._passwords, os.urandom)
        if document:
            self._broker.load(document)
        for each in todo.remove:
            self._broker.remove(each.key, self._vhost)
        return self.plan(self._broker.definitions())


def policy_keys(topology: dict[str, Any]) -> set[str]:
    """Every setting of every policy, in words."""
    return {f"{key} of {policy['name']}" for policy in topology["policies"] for key in policy["definition"]}


def explain(differences: tuple[Difference, ...]) -> str:
    return "; ".join(line for each in differences for line in each.explain() or [f"{each.label} is missing"])


def run(module: AnsibleModule) -> None:
    params = module.params
    if params["broker_absent"] and not module.check_mode:
        module.fail_json(msg="broker_absent is for check mode: there is nothing to apply the topology to.")
    broker = Management(params["url"], params["login_user"], params["login_password"], params["timeout"])
    topology = Topology(params, broker)
    if topology.without_passwords():
        module.fail_json(msg=f"No password is given for: {', '.join(topology.without_passwords())}.")

    todo = topology.plan({} if params["broker_absent"] else broker.definitions())
    before, after = before_and_after(todo.differences)
    result: dict[str, Any] = {
        "created": [each.label for each in todo.create],
        "updated": [each.label for each in todo.change],
        "removed": [each.label for each in todo.remove],
        "unmanaged": [" ".join(key) for key in todo.unmanaged if worth_listing(key)],
        "dropped": sorted(topology.dropped),
        "version": topology.version,
        "diff": {"before": before, "after": after},
    }
    if todo.blocked:
        module.fail_json(
            msg="Nothing was applied, because these can't be changed in place: "
            f"{explain(todo.blocked)}. Give the model its old value back, or move the messages away, delete "
            "the object and run again.",
            **result,
        )
    if not (todo.empty or module.check_mode):
        left = topology.apply(todo)
        if not left.empty:
            module.fail_json(
                msg=f"The broker accepted the changes, but still differs: {explain(left.differences)}. "
                "An exclusive queue of the same name, or somebody who changes the broker at the same time, "
                "would do this.",
                **result,
            )
    module.exit_json(changed=not todo.empty, requests=broker.requests, **result)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        run(module)
    except BrokerError as error:
        module.fail_json(msg=str(error))
    except KeyError as error:
        module.fail_json(msg=f"The topology lacks {error}, in itself or in one of its entries.")


if __name__ == "__main__":
    main()
