#!/usr/bin/python
"""Reconcile the topology of a Celery fleet with a RabbitMQ broker."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker import existing
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.apply import (
    ARRIVAL_S,
    TopologyReconciler,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.counts import counter
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.reconcile import (
    Difference,
    before_and_after,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.state import worth_listing
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import Findings, report

DOCUMENTATION = r"""
module: rabbitmq_topology
short_description: Reconcile a vhost, its users, rights, exchanges, queues, bindings and policies
description:
  - Reads the broker's definitions in one request of the management API, compares all attributes, creates and
    changes what differs in one more, and reads again to verify that nothing differs any more.
  - Removes only the user C(guest), bindings from one of the topology's exchanges to one of its queues or
    exchanges, topic permissions of the topology's users, and policies that the model named
    (C(celery_fleet.*)). Exchanges, queues and users that the model had once are listed, and removed with
    O(prune) if they are empty and unused. Everything else that exists and isn't in the topology is listed
    and left alone.
  - What the model had is known by the tag C(celery_fleet) of users, and by the global parameter
    C(celery_fleet.VHOST), which names exchanges and queues; the module maintains both.
  - Two requests if nothing differs. Warns of nodes that are down, of alarms, and of queues of the
    vhost that the topology lacks and that hold messages.
  - Policy keys that the broker's version doesn't know are left out, and the result says which.
  - Of a broker that the kit does not install (C(managed) is false in O(topology)) it reads first what its
    user may do there, and stops with findings if something that the fleet needs is forbidden, or one of the
    fleet's users is somebody else's. It leaves the user C(guest) alone.
  - Stops before anything is applied if the record says that another fleet has the vhost, or one
    with another file of secrets.
  - Stops before anything is applied if a queue or an exchange differs, because neither can be changed in
    place.
options:
  topology:
    description:
      - The desired topology, as the filter P(celery_fleet.kit.topology#filter) returns it; V(vhost) and the
        lists V(users), V(permissions), V(exchanges), V(queues), V(bindings), V(policies) and, optionally,
        V(topic_permissions), each entry complete and with the names of RabbitMQ's definitions (V(apply_to)
        for C(apply-to)).
    type: dict
    required: true
  passwords:
    description: Password of each of the topology's users.
    type: dict
    required: true
  prune:
    description:
      - Remove exchanges, queues and users that the model no longer has, if they are empty and unused.
      - A queue stays as long as it holds a message or has a consumer, and with it all that its messages may
        need. That is counted by C(rabbitmqctl), on a node of the cluster and as root; of a broker that the
        kit does not install by the management API, which takes a quarter of a minute to be sure.
    type: bool
    default: false
  broker_absent:
    description: The broker isn't there yet, as in a check before the first run; everything is shown as new.
    type: bool
    default: false
  ca_file:
    description: Authorities of the certificate of O(url); by default those of the system.
    type: path
extends_documentation_fragment: [celery_fleet.kit.broker_login]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
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
  description: Exchanges, queues and users that the model no longer has, and, if they should be removed, why
    each of them can't be yet.
  type: list
  elements: str
  returned: success
findings:
  description: What the broker forbids and the fleet needs.
  type: list
  elements: dict
  returned: when there is any
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

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "topology": {"type": "dict", "required": True},
    "passwords": {"type": "dict", "required": True, "no_log": True},
    "prune": {"type": "bool", "default": False},
    "broker_absent": {"type": "bool", "default": False},
    "ca_file": {"type": "path"},
}

VERB = "ansible-playbook playbooks/migrate_queue.yml"


def explain(differences: tuple[Difference, ...]) -> str:
    return "; ".join(line for each in differences for line in each.explain() or [f"{each.label} is missing"])


def run(module: AnsibleModule) -> None:
    params = module.params
    if params["broker_absent"] and not module.check_mode:
        module.fail_json(msg="broker_absent is for check mode: there is nothing to apply the topology to.")
    broker = Management(
        params["url"],
        params["login_user"],
        params["login_password"],
        params["timeout"],
        params["ca_file"],
    )
    vhost, managed = params["topology"]["vhost"], params["topology"].get("managed", True)
    topology = TopologyReconciler(
        params["topology"],
        params["passwords"],
        broker,
        counter(lambda argv: module.run_command(argv), vhost) if managed else existing.counter(broker, vhost),
        prune=params["prune"],
        arrival_s=ARRIVAL_S if managed else existing.ARRIVAL_S,
    )
    if topology.without_passwords():
        module.fail_json(msg=f"No password is given for: {', '.join(topology.without_passwords())}.")

    if not managed:
        forbidden, notes = existing.check(broker, params["login_user"], params["topology"])
        if forbidden.errors:
            found = [asdict(finding) for finding in forbidden]
            module.fail_json(msg=f"Nothing was changed.\n{report(forbidden)}", findings=found)
        for note in notes:
            module.warn(note)

    obstacles: list[str] = []
    todo = topology.compare({} if params["broker_absent"] else broker.definitions())
    others = Findings()
    topology.check_fleet(others)
    if others.errors:
        module.fail_json(
            msg=f"Nothing was changed.\n{report(others)}", findings=[asdict(each) for each in others]
        )
    if not params["broker_absent"]:
        obstacles = broker.obstacles()
    for obstacle in obstacles:
        module.warn(obstacle)
    for name in topology.migrations:
        module.warn(
            f"The migration of queue {name} was interrupted, and messages may wait in a queue beside it. "
            f"Finish it with the same inventory: {VERB}"
        )
    if not managed and any(each.startswith("consumer-timeout") for each in topology.dropped):
        module.warn(existing.timeout_note(topology.version, params["topology"]["consumer_timeout_ms"]))
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
            f"{explain(todo.blocked)}. Restore the old value in the model, or migrate with the same "
            f"inventory, which loses no message: {VERB}",
            **result,
        )
    if not (todo.empty or module.check_mode):
        remaining = topology.apply(todo)
        result["surplus"] = topology.surplus
        if not remaining.empty:
            module.fail_json(
                msg=f"The broker accepted the changes, but still differs: {explain(remaining.differences)}. "
                "An exclusive queue of the same name, or somebody who changes the broker at the same time, "
                f"would do this. {' '.join(obstacles)}".strip(),
                **result,
            )
    for warning in topology.stranded():
        module.warn(warning)
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
