#!/usr/bin/python
"""Replace queues and exchanges that can't be changed in place, and lose no message."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError, Management
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.arguments import LOGIN
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.client import AMQP_ERROR
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.counts import counter
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.migration import MigrationError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.migrator import (
    AmqpLogin,
    Migrator,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.reconcile import before_and_after

DOCUMENTATION = r"""
module: rabbitmq_migrate
short_description: Replace queues and exchanges that can't be changed in place
description:
  - Gives queues and exchanges the type and the arguments of the topology, moves the messages, and
    loses none. Safe to repeat; a migration that was interrupted goes on where it was.
  - The workers of a queue stop consuming it, and the module waits until they have none of its messages. Then
    the exchange sends its messages to a queue beside it, the queue is replaced, its workers finish what they
    run and are started again by systemd, and all messages come back to it, in this order.
  - Every message is confirmed at its new place before it is acknowledged at its old one. An interruption
    between the two leaves one message twice.
  - Counts what queues hold by C(rabbitmqctl), so it runs on a node of the cluster and needs root.
requirements: [amqp (python3-amqp) on the host]
options:
  topology:
    description: The desired topology, as in M(celery_fleet.kit.rabbitmq_topology).
    type: dict
    required: true
  only:
    description: The one queue or exchange to migrate; all that need it if not given.
    type: str
  move_from:
    description:
      - A queue that the model no longer has. What waits in it is moved to O(move_to); nothing else is done.
      - The queue itself stays; M(celery_fleet.kit.rabbitmq_topology) removes it when it is empty.
    type: str
  move_to:
    description: The queue of a pool to which that is moved.
    type: str
  patience:
    description: Seconds to wait for the tasks of the queue that run.
    type: int
    default: 7200
  host:
    description: Where the broker takes AMQP.
    type: str
    default: 127.0.0.1
  port:
    description: Port of AMQP.
    type: int
    default: 5672
  ca_file:
    description: Certificates of the authority that signed the broker's; AMQP then goes over TLS.
    type: path
extends_documentation_fragment: [celery_fleet.kit.broker_login]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Replace what can't be changed in place
  celery_fleet.kit.rabbitmq_migrate:
    topology: "{{ broker_topology }}"
    login_user: kit
    login_password: "{{ broker_passwords.kit }}"
"""

RETURN = r"""
queues:
  description: For each migrated queue, messages before, arrived meanwhile, and brought back; of a queue whose
    messages were moved, how many, and what it still holds.
  type: list
  elements: dict
  returned: success
names:
  description: What was (or would be) migrated.
  type: list
  elements: str
  returned: success
left:
  description: What still needs a migration, because it was not requested.
  type: list
  elements: str
  returned: success
exchanges:
  description: For each migrated exchange the seconds that it didn't exist for.
  type: list
  elements: dict
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = LOGIN | {
    "topology": {"type": "dict", "required": True},
    "only": {"type": "str"},
    "move_from": {"type": "str"},
    "move_to": {"type": "str"},
    "patience": {"type": "int", "default": 7200},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 5672},
    "ca_file": {"type": "path"},
}


def run(module: AnsibleModule) -> None:
    params = module.params
    broker = Management(params["url"], params["login_user"], params["login_password"], params["timeout"])
    obstacles = broker.obstacles()
    if obstacles:
        module.fail_json(msg=f"Nothing was migrated: {' '.join(obstacles)}")
    topology = params["topology"]
    count = counter(lambda argv: module.run_command(argv), topology["vhost"])
    migrator = Migrator(topology, broker, count, params["only"], params["patience"], params["timeout"])
    login = AmqpLogin(
        params["host"], params["port"], params["login_user"], params["login_password"], params["ca_file"]
    )
    if source := params["move_from"]:
        migrator.address(source, params["move_to"])
        held = count([source])[source]
        result: dict[str, Any] = {
            "changed": held is None or held.ready > 0,
            "names": [source],
            "left": [],
            "exchanges": [],
        }
        if module.check_mode:
            module.exit_json(queues=[], **result)
        with migrator.connected(login):
            moved = migrator.move(source, params["move_to"])
        module.exit_json(queues=[moved], **result | {"changed": moved["moved"] > 0})
    names = [*migrator.exchanges, *migrator.queues]
    before, after = before_and_after(migrator.differences)
    result = {
        "changed": bool(names),
        "names": names,
        "left": migrator.left,
        "diff": {"before": before, "after": after},
    }
    if module.check_mode or not names:
        module.exit_json(queues=[], exchanges=[], **result)
    with migrator.connected(login):
        module.exit_json(
            exchanges=[migrator.replace_exchange(name) for name in migrator.exchanges],
            queues=[migrator.replace_queue(name) for name in migrator.queues],
            **result,
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_together=[("move_from", "move_to")],
        mutually_exclusive=[("move_from", "only")],
    )
    if AMQP_ERROR and not module.check_mode:
        module.fail_json(msg=missing_required_lib("amqp"), exception=AMQP_ERROR)
    try:
        run(module)
    except (BrokerError, MigrationError) as error:
        module.fail_json(msg=f"{error} Nothing is lost: run the migration again when this is put right.")


if __name__ == "__main__":
    main()
