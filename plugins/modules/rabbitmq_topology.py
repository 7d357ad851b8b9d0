#!/usr/bin/python
"""Reconcile the topology of a Celery fleet with a RabbitMQ broker."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import (
    BrokerError,
    Management,
    RefusedError,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.migration import interrupted
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.ownership import (
    FIXED_KINDS,
    Ownership,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.reconcile import (
    Difference,
    Key,
    Plan,
    State,
    before_and_after,
    plan,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.state import (
    current_state,
    desired_state,
    import_document,
    worth_listing,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.versions import for_broker_version

DOCUMENTATION = r"""
module: rabbitmq_topology
short_description: Reconcile a vhost, its users, rights, exchanges, queues, bindings and policies
description:
  - Reads the broker's definitions in one request of the management API, compares all attributes, creates and
    changes what differs in one more, and reads again to verify that nothing differs any more.
  - Removes only the user C(guest), bindings from one of the topology's exchanges to one of its queues or
    exchanges, topic permissions of the topology's users, and policies that the model named
    (C(celery_fleet.*)). Exchanges, queues and users that the model had once are listed, and removed with
    O(prune) if they are empty and unused. Everything else that exists and isn't wanted is listed and left
    alone.
  - What the model had is known by the tag C(celery_fleet) of users, and by the global parameter
    C(celery_fleet.VHOST), which names exchanges and queues; the module maintains both.
  - Two requests if nothing differs. Warns of nodes that are down and of alarms.
  - Policy keys that the broker's version doesn't know are left out, and the result says which.
  - Stops before anything is applied if a queue or an exchange differs, because neither can be changed in
    place.
options:
  topology:
    description:
      - What is wanted, as the filter P(celery_fleet.kit.topology#filter) gives it; V(vhost) and the lists
        V(users), V(permissions), V(exchanges), V(queues), V(bindings) and V(policies), and if wanted
        V(topic_permissions), each entry complete
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
  prune:
    description:
      - Remove exchanges, queues and users that the model had once and has no more, if they are empty and
        unused.
      - A queue stays as long as it holds a message or has a consumer, and with it all that its messages may
        need.
    type: bool
    default: false
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
surplus:
  description: Exchanges, queues and users that the model had once and has no more, and, if they should be
    removed, why each of them can't be yet.
  type: list
  elements: str
  returned: success
blocked:
  description: Objects that differ and can't be changed in place.
  type: list
  elements: str
  returned: always
unmanaged:
  description: Objects of the vhost that aren't the fleet's and were left alone.
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
    "prune": {"type": "bool", "default": False},
    "broker_absent": {"type": "bool", "default": False},
}

VERB = "ansible-playbook playbooks/migrate_queue.yml"
# Nothing goes before what leads to it.
REMOVAL_ORDER = ("topic_permission", "binding", "exchange", "policy", "permission", "user")
# The broker's figures of a queue are at most five seconds old.
FIGURES_AGE_S = 6
# How long a node of a cluster may take to know what another one stored.
SETTLE_S = 5


class Topology:
    """The topology that is wanted, and the broker that should have it."""

    def __init__(self, params: dict[str, Any], broker: Management) -> None:
        self._wanted: dict[str, Any] = params["topology"]
        self._passwords: dict[str, str] = params["passwords"]
        self._prune: bool = params["prune"]
        self._broker = broker
        self._vhost: str = self._wanted["vhost"]
        self._state: State = {}
        self._refused: dict[str, str] = {}
        self.version: str | None = None
        self.dropped: set[str] = set()
        self.surplus: list[str] = []
        self.migrations: list[str] = []

    def without_passwords(self) -> list[str]:
        return sorted({user["name"] for user in self._wanted["users"]} - self._passwords.keys())

    def plan(self, definitions: dict[str, Any]) -> Plan:
        self.version = definitions.get("rabbitmq_version")
        wanted = for_broker_version(self._wanted, self.version) if self.version else self._wanted
        self.dropped = policy_keys(self._wanted) - policy_keys(wanted)
        self._state = current_state(definitions, wanted, self._passwords)
        ownership = Ownership(wanted, self._state)
        queues = {key[1] for key in ownership.surplus if key[0] == "queue"}
        if self._prune:
            in_use = self._broker.queues_in_use(self._vhost, queues) if queues else {}
            ownership = Ownership(wanted, self._state, self._refused | in_use)
        self.surplus = [
            " ".join(key) + (f" ({ownership.reasons[key]})" if key in ownership.reasons else "")
            for key in sorted(ownership.surplus)
            if not ownership.removable(key)
        ]
        self.migrations = sorted(interrupted(definitions, self._vhost))
        made = plan(
            self._state,
            desired_state(wanted, self._state),
            fixed=FIXED_KINDS,
            removable=ownership.removable,
        )
        return replace(made, unmanaged=tuple(key for key in made.unmanaged if key not in ownership.surplus))

    def apply(self, todo: Plan) -> Plan:
        """Apply a plan and return what is still to do after it: nothing, if the broker did as it was told.

        What goes is found again after the queues went, because one that was used at the last moment stays
        with all that it needs; and what the broker remembers as ours shrinks when it is gone. A node that
        has not yet heard of what another one stored gets a moment.
        """
        end = time.monotonic() + SETTLE_S
        while True:
            self._one_round(todo)
            left = self.plan(self._broker.definitions())
            if left.empty or (left == todo and time.monotonic() > end):
                return left
            if left == todo:
                time.sleep(1)
            todo = left

    def _one_round(self, todo: Plan) -> None:
        going = [each.key for each in todo.remove]
        queues = [key for key in going if key[0] == "queue"]
        if queues:
            # What leads to them goes first, the rest in the next round.
            going = [key for key in going if key[0] == "binding" and ("queue", key[3]) in queues]
        for user in sorted({key[1] for key in going if key[0] == "topic_permission"}):
            self._broker.remove(("topic_permission", user), self._vhost)
        document = import_document(
            [*todo.create, *todo.change, *self._kept_topic_permissions(going)],
            self._vhost,
            self._passwords,
            os.urandom,
        )
        if document:
            self._broker.load(document)
        for key in sorted(going, key=lambda key: REMOVAL_ORDER.index(key[0])):
            if key[0] == "exchange":
                self._try(key, "if-unused=true")
            elif key[0] != "topic_permission":
                self._broker.remove(key, self._vhost)
        self._remove_queues(queues)

    def _kept_topic_permissions(self, going: list[Key]) -> list[Difference]:
        """A user's topic permissions go together; these are given back."""
        users = {key[1] for key in going if key[0] == "topic_permission"}
        return [
            Difference(key, None, attributes)
            for key, attributes in self._state.items()
            if key[0] == "topic_permission" and key[1] in users and key not in going
        ]

    def _remove_queues(self, queues: list[Key]) -> None:
        """Remove queues that are empty and unused.

        The broker looks itself before it removes a classic queue. It can't do that for the other types:
        nothing leads to these any more, so once all figures are newer than that they stay as they are.
        """
        classic = [key for key in queues if self._state[key]["arguments"]["x-queue-type"] == "classic"]
        others = {key[1] for key in queues} - {key[1] for key in classic}
        for key in classic:
            self._try(key, "if-empty=true&if-unused=true")
        if others:
            time.sleep(FIGURES_AGE_S)
            in_use = self._broker.queues_in_use(self._vhost, others)
            for name in sorted(others - in_use.keys()):
                self._broker.remove(("queue", name), self._vhost)

    def _try(self, key: Key, conditions: str) -> None:
        try:
            self._broker.remove(key, self._vhost, conditions)
        except RefusedError as refusal:
            if key[0] != "queue":
                raise
            self._refused[key[1]] = str(refusal)


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

    obstacles: list[str] = []
    todo = topology.plan({} if params["broker_absent"] else broker.definitions())
    if not params["broker_absent"]:
        obstacles = broker.obstacles()
    for obstacle in obstacles:
        module.warn(obstacle)
    for name in topology.migrations:
        module.warn(
            f"The migration of queue {name} was interrupted, and messages may wait in a queue beside it. "
            f"Finish it with the same inventory: {VERB}"
        )
    before, after = before_and_after(todo.differences)
    result: dict[str, Any] = {
        "created": [each.label for each in todo.create],
        "updated": [each.label for each in todo.change],
        "removed": [each.label for each in todo.remove],
        "unmanaged": [" ".join(key) for key in todo.unmanaged if worth_listing(key)],
        "surplus": topology.surplus,
        "blocked": [each.label for each in todo.blocked],
        "dropped": sorted(topology.dropped),
        "version": topology.version,
        "diff": {"before": before, "after": after},
    }
    if todo.blocked:
        module.fail_json(
            msg="Nothing was applied, because these can't be changed in place: "
            f"{explain(todo.blocked)}. Give the model its old value back, or migrate with the same "
            f"inventory, which loses no message: {VERB}",
            **result,
        )
    if not (todo.empty or module.check_mode):
        left = topology.apply(todo)
        result["surplus"] = topology.surplus
        if not left.empty:
            module.fail_json(
                msg=f"The broker accepted the changes, but still differs: {explain(left.differences)}. "
                "An exclusive queue of the same name, or somebody who changes the broker at the same time, "
                f"would do this. {' '.join(obstacles)}".strip(),
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
