#!/usr/bin/python
"""Read the status of a host's workers and scheduler."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.cgroup import oom_kills
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import (
    BEAT,
    INSTANCES,
    slice_of,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.processes import by_unit, size
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.status import (
    PROPERTIES,
    beat,
    instance,
    read_units,
)

DOCUMENTATION = r"""
module: worker_status
short_description: Read the status of a host's workers and scheduler
description:
  - Reads what they report under C(/run/celery-fleet), the marks of drained pools, and asks systemd once
    about all units. Sends nothing to the broker or to a worker, and changes nothing.
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read the workers' status
  celery_fleet.kit.worker_status:
  register: status_worker
"""

RETURN = r"""
instances:
  description: Status of each instance of a pool.
  type: list
  elements: dict
  returned: always
drained:
  description: When and why a pool was drained, by its name.
  type: dict
  returned: always
oom_kills:
  description:
    - By pool, how many of its processes the kernel killed because its memory was used up; null if unknown.
  type: dict
  returned: always
beat:
  description: Status of the scheduler; null where there is none.
  type: dict
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {}


def memory(unit: dict[str, str], pids: dict[str, list[str]]) -> int | None:
    """Return the bytes that a unit uses: as its control group counts them, or as its processes do."""
    counted = unit.get("MemoryCurrent", "")
    if counted.isdigit() and int(counted) < 2**63:
        return int(counted)
    sizes = [used for pid in pids.get(unit["Id"], ()) if (used := size(pid)) is not None]
    return sum(sizes) if sizes else None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    _, shown, _ = module.run_command(
        [
            "systemctl",
            "show",
            f"--property={','.join(PROPERTIES)},LoadState",
            "--",
            INSTANCES,
            BEAT,
        ],
        check_rc=True,
    )
    now, monotonic = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
    units = {unit["Id"]: unit for unit in read_units(shown)}
    scheduler = units.pop(BEAT, None)
    if scheduler and scheduler["LoadState"] == "not-found":
        scheduler = None
    pids = by_unit()
    host = Machine()
    markers = sorted(host.marks.glob("[!.]*"))
    instances = [
        instance(unit, host.state(name), memory(unit, pids), now, monotonic)
        for name, unit in sorted(units.items())
    ]
    running = {each["pool"]: pids[each["unit"]][0] for each in instances if pids.get(each["unit"])}
    module.exit_json(
        changed=False,
        instances=instances,
        oom_kills={pool: oom_kills(pid, slice_of(pool)) for pool, pid in running.items()},
        drained={path.name: " ".join(path.read_text().split()) for path in markers},
        beat=None if scheduler is None else beat(scheduler, host.state(BEAT), now, monotonic),
    )


if __name__ == "__main__":
    main()
