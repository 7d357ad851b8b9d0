#!/usr/bin/python
"""Change how many tasks the running instances of pools take at once."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import ARGUMENT, refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: worker_scale
short_description: Change how many tasks the running instances of pools take at once
description:
  - Writes the figure to a file of root's that each instance reads, and waits until they report it. Nothing is
    restarted. An instance that starts later has its unit's own figure.
options:
  only:
    description: Pools.
    type: list
    elements: str
    required: true
  concurrency:
    description: Tasks at once.
    type: int
    required: true
  timeout:
    description: Seconds until they must report it.
    type: int
    default: 30
extends_documentation_fragment: [celery_fleet.kit.fleet]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Run more tasks at once
  celery_fleet.kit.worker_scale:
    only: [io]
    concurrency: 80
"""

RETURN = r"""
units:
  description: Instances that got the figure.
  type: list
  elements: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = ARGUMENT | {
    "only": {"type": "list", "elements": "str", "required": True},
    "concurrency": {"type": "int", "required": True},
    "timeout": {"type": "int", "default": 30},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    host, concurrency = Machine(), module.params["concurrency"]
    if reason := refusal(module.params["fleet"], host.root):
        module.fail_json(msg=reason)
    try:
        units = [
            instance.name.unit
            for instance in host.instances()
            if instance.name.pool in module.params["only"]
            and instance.up
            and host.place(instance.name.unit).is_dir()
        ]
    except SystemdError as error:
        module.fail_json(msg=str(error))
    before = {unit: host.state(unit).get("slots") for unit in units}
    changed = [unit for unit in units if host.slots(unit) != concurrency]
    result = {
        "changed": bool(changed),
        "units": units,
        "diff": {
            "before": "".join(f"{unit}: {slots}\n" for unit, slots in before.items()),
            "after": "".join(
                f"{unit}: {concurrency if unit in changed else before[unit]}\n" for unit in units
            ),
        },
    }
    if not module.check_mode:
        for unit in changed:
            host.set_slots(unit, concurrency)
        end = time.monotonic() + module.params["timeout"]
        # One that waits for the room of another follows as that finishes, and is not waited for.
        while late := [
            unit
            for unit in changed
            if (state := host.state(unit)).get("state") != "waiting" and state.get("slots") != concurrency
        ]:
            if time.monotonic() > end:
                module.fail_json(
                    msg=f"{', '.join(late)}: no {concurrency} slots after {module.params['timeout']} s"
                )
            time.sleep(0.3)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
