#!/usr/bin/python
"""Form one cluster of broker nodes."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.cluster import (
    Membership,
    membership,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.commands import (
    CommandError,
    Commands,
    view_of,
)

DOCUMENTATION = r"""
module: rabbitmq_cluster
short_description: Form one RabbitMQ cluster of the desired nodes
description:
  - Asks every node for its cluster, joins blank nodes to the one that holds data, and makes the cluster
    forget nodes that are down and not desired. A node that lost its data is forgotten first, and joins anew.
  - Refuses, before anything is changed, to reset a node that holds data of its own, to forget one that runs,
    and to forget any without a majority.
  - Desired nodes that don't answer are reported and left alone. While those that answer hold nothing, this is
    refused, because the others may hold the queues.
options:
  nodes:
    description: Names of the desired nodes, such as V(rabbit@broker1).
    type: list
    elements: str
    required: true
  new_cluster:
    description: Whether blank nodes may begin without desired nodes that don't answer.
    type: bool
    default: false
  timeout:
    description: Seconds that one command may take.
    type: int
    default: 120
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Form the cluster
  celery_fleet.kit.rabbitmq_cluster:
    nodes: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
"""

RETURN = r"""
joined:
  description: Nodes that joined, or would.
  type: list
  elements: str
  returned: success
forgotten:
  description: Nodes that were forgotten, or would be.
  type: list
  elements: str
  returned: success
down:
  description: Desired nodes that don't answer.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "nodes": {"type": "list", "elements": "str", "required": True},
    "new_cluster": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 120},
}


def apply(commands: Commands, seed: str, todo: Membership) -> None:
    """Forget, reset and join the nodes; a run after an interrupted one completes it."""
    for node in todo.join:
        commands.call("rabbitmqctl", node, "stop_app")
    for node in todo.forget:
        commands.call("rabbitmqctl", seed, "forget_cluster_node", node)
    for node in todo.join:
        commands.call("rabbitmqctl", node, "reset")
        commands.call("rabbitmqctl", node, "join_cluster", seed)
        commands.call("rabbitmqctl", node, "start_app")


def run(module: AnsibleModule) -> None:
    nodes: list[str] = module.params["nodes"]
    commands = Commands(lambda argv: module.run_command(argv), module.params["timeout"])
    answers = {node: commands.ask(node) for node in nodes}
    # An interrupted run may have left a node stopped; it is read once it runs.
    stopped = [node for node, answer in answers.items() if answer and not answer["running"]]
    if not module.check_mode:
        for node in stopped:
            commands.call("rabbitmqctl", node, "start_app")
            answers[node] = commands.ask(node)
    views = {node: view for node, answer in answers.items() if (view := view_of(answer))}
    todo = membership(nodes, views, new_cluster=module.params["new_cluster"])
    if todo.refusals:
        module.fail_json(msg=f"Nothing was done: {'; '.join(todo.refusals)}.")
    if todo.seed is None:
        module.fail_json(msg=f"None of the nodes answers: {', '.join(nodes)}.")
    if not module.check_mode:
        apply(commands, todo.seed, todo)
    if todo.down:
        module.warn(f"Down, and left as they are: {', '.join(todo.down)}. Start them and run again.")
    if todo.kept:
        module.warn(
            f"Down, not in the inventory, and kept until all answer that are: {', '.join(todo.kept)}."
        )
    before = sorted(views[todo.seed].known)
    after = sorted((set(before) - set(todo.forget)) | set(todo.join))
    module.exit_json(
        changed=bool(stopped) or not todo.empty,
        joined=list(todo.join),
        forgotten=list(todo.forget),
        down=list(todo.down),
        diff={"before": "\n".join([*before, ""]), "after": "\n".join([*after, ""])},
    )


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
