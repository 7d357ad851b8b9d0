#!/usr/bin/python
"""Drain pools on a host, or resume them; report what still runs."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import ARGUMENT, refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.steps import RUNNING
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.unfinished import (
    unfinished,
    unfinished_text,
)

DOCUMENTATION = r"""
module: worker_drain
short_description: Drain pools on a host, or resume them
description:
  - Marks pools as drained and asks their instances to stop; they stop consuming at once, give back
    what they have not begun, and finish what they run. Units with that mark don't start, at boot either.
  - An action plugin of the same name reads the state every few seconds until no task runs, and shows those
    that do.
  - Without the mark nothing is started; M(celery_fleet.kit.worker_instances) does that.
options:
  state:
    description: The desired state of the pools.
    type: str
    choices: [drained, undrained]
    required: true
  only:
    description: Pools; all that the host has if empty.
    type: list
    elements: str
    default: []
  reason:
    description:
      - The reason, which is written into the mark.
      - Only pools that were drained for this reason are resumed; all if empty.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for running tasks; with 0 as long as they take.
    type: int
    default: 0
extends_documentation_fragment: [celery_fleet.kit.fleet]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Drain a host
  celery_fleet.kit.worker_drain:
    state: drained
    reason: new memory
"""

RETURN = r"""
pools:
  description: The affected pools.
  type: list
  elements: str
  returned: always
left:
  description: Tasks that still run, each with its C(unit), C(task), C(id), C(queue), C(age) and C(limit).
  type: list
  elements: dict
  returned: always
text:
  description: The same as text.
  type: list
  elements: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = ARGUMENT | {
    "state": {"type": "str", "choices": ["drained", "undrained"], "required": True},
    "only": {"type": "list", "elements": "str", "default": []},
    "reason": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 0},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    host, drain = Machine(), module.params["state"] == "drained"
    if reason := refusal(module.params["fleet"], host.root):
        module.fail_json(msg=reason)
    try:
        pools = sorted(host.pools() & set(module.params["only"] or host.pools()))
        marked = host.drained()
        reason = module.params["reason"]
        if not drain and reason:
            pools = [pool for pool in pools if host.drained_for(pool) == reason]
        differing = [pool for pool in pools if (pool in marked) != drain]
        instances = [instance for instance in host.instances() if instance.name.pool in pools]
        stop = [instance.name.unit for instance in instances if instance.up] if drain else []
        if not module.check_mode:
            for pool in differing:
                mark = host.marks / pool
                if drain:
                    host.write(
                        mark, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {reason or 'no reason given'}\n"
                    )
                else:
                    mark.unlink()
            if stop:
                host.systemctl("stop", "--no-block", *stop)
        tasks: list[dict[str, object]] = []
        for instance in instances:
            if drain and instance.state in RUNNING:
                tasks += unfinished(instance.name.unit, host.state(instance.name.unit), time.time()) or [
                    {"unit": instance.name.unit}
                ]
    except SystemdError as error:
        module.fail_json(msg=str(error))
    state = {True: "drained", False: "not drained"}
    module.exit_json(
        changed=bool(differing or stop),
        pools=pools,
        left=tasks,
        text=unfinished_text(tasks) or [f"{', '.join(pools) or 'no pool'}: {state[drain]}"],
        diff={
            "before": "".join(f"{pool}: {state[not drain]}\n" for pool in differing),
            "after": "".join(f"{pool}: {state[drain]}\n" for pool in differing),
        },
    )


if __name__ == "__main__":
    main()
