#!/usr/bin/python
"""Cancel tasks on a host, or take that back; report which of them run."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import ARGUMENT, refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import REVOKED, below
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.revoked import (
    lift,
    matching,
    order,
    read,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: worker_revoke
short_description: Cancel tasks on a host, or take that back
description:
  - Writes the file of orders that all workers of the host read, those that run within a second and all others
    when they start. Sends nothing to the broker. Reports which of the tasks run here.
options:
  ids:
    description: Tasks by their ids.
    type: list
    elements: str
    default: []
  tasks:
    description: Patterns of tasks' names; what was published until now is cancelled.
    type: list
    elements: str
    default: []
  terminate:
    description: Whether what runs is ended.
    type: bool
    default: false
  keep:
    description: Seconds until the orders end.
    type: int
    default: 2592000
  state:
    description: V(present) cancels, V(absent) takes orders back, all if none are named; V(read) only reports.
    type: str
    choices: [present, absent, read]
    default: present
extends_documentation_fragment: [celery_fleet.kit.fleet]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Cancel a task, running or not
  celery_fleet.kit.worker_revoke:
    ids: [0b1c6f5e-6f1d-4c58-9a4b-0c9f5a0d2b11]
    terminate: true
"""

RETURN = r"""
orders:
  description: The orders of the host, C(ids) and C(tasks).
  type: dict
  returned: always
ended:
  description: Tasks that ran and were ended, as RV(running).
  type: list
  elements: dict
  returned: always
running:
  description:
    - Of the tasks that are meant those that run still, each with C(id), C(name) and C(pool). Where they are
      to be ended, it waits for that.
  type: list
  elements: dict
  returned: always
"""

# Seconds for a worker to see its orders and report what became of them, and between two looks.
WAIT_S = 20
LOOK_S = 0.5

ARGUMENTS: dict[str, dict[str, Any]] = ARGUMENT | {
    "ids": {"type": "list", "elements": "str", "default": []},
    "tasks": {"type": "list", "elements": "str", "default": []},
    "terminate": {"type": "bool", "default": False},
    "keep": {"type": "int", "default": 30 * 24 * 3600},
    "state": {"type": "str", "choices": ["present", "absent", "read"], "default": "present"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params, host, now = module.params, Machine(), time.time()
    if reason := refusal(module.params["fleet"], host.root):
        module.fail_json(msg=reason)
    path = below(host.root, REVOKED)
    before = read(path.read_text() if path.exists() else "")
    after, ids, tasks = before, params["ids"], params["tasks"]
    if params["state"] == "present":
        after = order(before, ids, tasks, terminate=params["terminate"], until=now + params["keep"], now=now)
    elif params["state"] == "absent":
        after = lift(before, ids, tasks, now)
    if after != before and not module.check_mode:
        host.write(path, json.dumps(after) + "\n")
    try:
        first = running = _running(host, ids, tasks)
        ends = params["terminate"] and params["state"] == "present" and not module.check_mode
        while ends and running and time.time() < now + WAIT_S:
            time.sleep(LOOK_S)
            running = _running(host, ids, tasks)
    except SystemdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=after != before,
        orders={"ids": after["ids"], "tasks": after["tasks"]},
        running=running,
        ended=[each for each in first if each not in running],
        diff={"before": _lines(before), "after": _lines(after)},
    )


def _running(host: Machine, ids: list[str], tasks: list[str]) -> list[dict[str, str]]:
    return [
        {"id": each["id"], "name": each["name"], "pool": instance.name.pool}
        for instance in host.instances()
        for each in matching(host.state(instance.name.unit).get("active", ()), ids, tasks)
    ]


def _lines(orders: dict[str, Any]) -> str:
    named = [*orders["ids"], *(each["name"] for each in orders["tasks"])]
    return "".join(f"{each}\n" for each in named)


if __name__ == "__main__":
    main()
