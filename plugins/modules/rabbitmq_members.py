#!/usr/bin/python
"""Add a member of every quorum queue on every node of a cluster."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.commands import (
    CommandError,
    Commands,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.node import overloaded

DOCUMENTATION = r"""
module: rabbitmq_members
short_description: Grow the quorum queues of a virtual host to every node, and spread their leaders
description:
  - Adds members to queues that lack one on a running node, and moves leaders if one node has more than
    its share, rounded up.
  - Takes no member away; that is what forgetting a node does.
options:
  vhost:
    description: The virtual host.
    type: str
    required: true
  nodes:
    description: Names of the desired nodes; those that don't run are left out.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds that one command may take.
    type: int
    default: 120
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Grow the queues to every node
  celery_fleet.kit.rabbitmq_members:
    vhost: celery_fleet
    nodes: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
"""

RETURN = r"""
grown:
  description: Queues that got (or would get) members, by node.
  type: dict
  returned: success
leaders:
  description: Number of leaders by node, after the run.
  type: dict
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "vhost": {"type": "str", "required": True},
    "nodes": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "int", "default": 120},
}


# How often leaders are moved at most: a member that was just added can't lead before it has caught up.
REBALANCES = 3


def quorum_queues(commands: Commands, node: str, vhost: str) -> list[dict[str, Any]]:
    columns = ("name", "type", "leader", "members", "online")
    queues = commands.json("rabbitmqctl", node, "list_queues", "--vhost", vhost, *columns)
    # One whose leader is being elected has none for the moment.
    return [queue for queue in queues if "quorum" in str(queue["type"])]


def spread(queues: list[dict[str, Any]], running: list[str]) -> dict[str, int]:
    counts = Counter(queue["leader"] for queue in queues)
    return {node: counts[node] for node in running}


def run(module: AnsibleModule) -> None:
    vhost: str = module.params["vhost"]
    commands = Commands(lambda argv: module.run_command(argv), module.params["timeout"])
    nodes: list[str] = module.params["nodes"]
    running = sorted(commands.running(nodes))
    queues = quorum_queues(commands, running[0], vhost)
    lacking = {node: [queue["name"] for queue in queues if node not in queue["members"]] for node in running}
    lacking = {node: names for node, names in lacking.items() if names}
    pattern = ["--vhost-pattern", f"^{re.escape(vhost)}$", "--queue-pattern", ".*"]
    if not module.check_mode:
        for node in lacking:
            commands.call("rabbitmq-queues", running[0], "grow", node, "all", *pattern)
        if lacking:
            queues = quorum_queues(commands, running[0], vhost)
    counts = spread(queues, running)
    uneven = overloaded(counts, len(queues), running)
    if uneven and not module.check_mode:
        for _ in range(REBALANCES):
            commands.call("rabbitmq-queues", running[0], "rebalance", "quorum", *pattern)
            counts = spread(quorum_queues(commands, running[0], vhost), running)
            if not overloaded(counts, len(queues), running):
                break
    module.exit_json(changed=bool(lacking or uneven), grown=lacking, leaders=counts)


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    try:
        run(module)
    except CommandError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
