#!/usr/bin/python
"""Read the health of a RabbitMQ cluster on one of its nodes, and wait for it."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.health import (
    STATUS,
    behind,
    critical,
    read_queues,
    unhealthy,
)

DOCUMENTATION = r"""
module: rabbitmq_health
short_description: Read the health of a RabbitMQ cluster on one of its nodes, and wait for it
description:
  - Runs C(rabbitmqctl) on the node, so it needs root and no password. Changes nothing.
  - A node may be stopped when all nodes run, none is in maintenance mode, no alarm is raised, nothing is
    partitioned, and every quorum queue keeps its majority without the node.
  - A member of a quorum queue is in sync when its log holds what the queue had committed at a look before.
options:
  expect:
    description:
      - V(nothing) only reads. V(stoppable) waits until this node may be stopped and all members of all queues
        are in sync. V(synchronous) waits until the members on this node are.
    type: str
    choices: [nothing, stoppable, synchronous]
    default: nothing
  nodes:
    description:
      - Names of the nodes that matter, by default all of the cluster. One that left for good is none of them,
        but the majority of the queues counts its members as long as it is not forgotten.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait; then the module fails with what is missing.
    type: int
    default: 0
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Wait until this node may be stopped
  celery_fleet.kit.rabbitmq_health:
    expect: stoppable
    timeout: 60
"""

RETURN = r"""
node:
  description: Name of this node.
  type: str
  returned: success
version:
  description: Version of RabbitMQ on it.
  type: str
  returned: success
nodes:
  description: Names of the cluster's nodes.
  type: list
  elements: str
  returned: success
maintenance:
  description: Whether this node is in maintenance mode.
  type: bool
  returned: success
obstacles:
  description: Why this node may not be stopped now.
  type: list
  elements: str
  returned: success
behind:
  description: The nodes whose members of quorum queues are not in sync.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "expect": {"type": "str", "choices": ["nothing", "stoppable", "synchronous"], "default": "nothing"},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "int", "default": 0},
}
# Seconds between two looks.
PAUSE = 1


class Node:
    """The node of this host, asked by its own commands."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._before: list[Any] | None = None

    def look(self) -> tuple[dict[str, Any], list[str]]:
        """Read the health, and return it with what is missing from what is expected."""
        expect, nodes = self._module.params["expect"], self._module.params["nodes"]
        document = self._ask()
        name, now = document["node"], read_queues(document["queues"])
        obstacles = unhealthy(document, nodes) + critical(now, name)
        # The first look has none before it: at rest, nothing is missing even so.
        late = behind(self._before or now, now, [name] if expect == "synchronous" else nodes)
        self._before = now
        health = {
            "node": name,
            "version": document["version"],
            "nodes": sorted(document["known"]),
            "maintenance": name in document["maintenance"],
            "obstacles": obstacles,
            "behind": late,
        }
        missing = {"nothing": [], "stoppable": obstacles + late, "synchronous": late}
        return health, missing[expect]

    def _ask(self) -> dict[str, Any]:
        _, printed, _ = self._module.run_command(["rabbitmqctl", "--quiet", "eval", STATUS], check_rc=True)
        # `eval` prints the value of the expression after what the expression printed.
        answer: dict[str, Any] = json.loads(str(printed).strip().removesuffix("\nok"))
        return answer


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    node = Node(module)
    deadline = time.monotonic() + module.params["timeout"]
    health, missing = node.look()
    while missing and time.monotonic() < deadline:
        time.sleep(PAUSE)
        health, missing = node.look()
    if missing:
        may = {"stoppable": "may not be stopped now", "synchronous": "is not in sync"}[
            module.params["expect"]
        ]
        waited = f"after {module.params['timeout']} s of waiting"
        module.fail_json(msg=f"{health['node']} {may}, {waited}: {'; '.join(missing)}.", **health)
    module.exit_json(changed=False, **health)


if __name__ == "__main__":
    main()
