#!/usr/bin/python
"""Run exactly the desired instances of the pools' workers on a host."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import ARGUMENT, refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.probation import Probation
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.records import Worker
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.rollover import RolloverError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.serve import (
    RecordError,
    recorded,
    serve,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: worker_instances
short_description: Run exactly the desired instances of the pools' workers on a host
description:
  - Starts an instance of each pool beside the old one and watches it. Only when all of them have passed
    their probation, the old ones are disabled and told to stop, without waiting for their tasks.
  - If one fails its probation, all new ones are removed, the old ones continue, and the module fails with the
    end of the journal.
  - An instance that already is the desired one is left alone, so an interrupted run may be repeated.
  - Pools that are marked as drained run nothing.
  - An action plugin of the same name shows what a rollover that takes long waits for.
options:
  source:
    description: >-
      The desired workers: those in O(pools), those that serve now, or those of the previous release.
    type: str
    choices: [given, served, previous]
    default: given
  pools:
    description: >-
      The worker of each pool, for O(source=given); other pools are removed. Each has C(release), C(digest),
      C(rollover), C(figures), and the texts of its C(unit), its number open, and C(slice), as the lookup
      P(celery_fleet.kit.workers#lookup) returns them.
    type: dict
    default: {}
  only:
    description: Pools to which the run is restricted; all if empty.
    type: list
    elements: str
    default: []
  restart:
    description: Whether an instance is replaced even if it is the desired one.
    type: bool
    default: false
  timeout:
    description: Seconds until a new instance must be ready.
    type: int
    required: true
  probation:
    description: For how many seconds the first tasks of a new instance are watched.
    type: float
    default: 5
  probation_tasks:
    description: After how many of its tasks the probation ends early.
    type: int
    default: 20
  probation_failures:
    description: It fails the probation if at least so many of them failed, and more than half.
    type: int
    default: 3
extends_documentation_fragment: [celery_fleet.kit.fleet]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Replace what serves by the same
  celery_fleet.kit.worker_instances:
    source: served
    restart: true
    timeout: 90
"""

RETURN = r"""
differs:
  description: Whether anything was changed, or would be; C(changed) unless the task overrides that.
  type: bool
  returned: always
pools:
  description: >-
    For each pool of the run what C(was) the release, what it C(is), the C(unit), what is C(done) (V(kept),
    V(started), V(drained) or V(gone)) and which units still C(finish).
  type: dict
  returned: success
"""

FIELDS = ("release", "digest", "rollover", "unit", "figures")

ARGUMENTS: dict[str, dict[str, Any]] = ARGUMENT | {
    "source": {"type": "str", "choices": ["given", "served", "previous"], "default": "given"},
    "pools": {"type": "dict", "default": {}},
    "only": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "bool", "default": False},
    "timeout": {"type": "int", "required": True},
    "probation": {"type": "float", "default": 5},
    "probation_tasks": {"type": "int", "default": 20},
    "probation_failures": {"type": "int", "default": 3},
}


def desired(module: AnsibleModule, host: Machine) -> dict[str, Worker | None]:
    """Return the desired worker of each pool of the run; none for a pool that is removed."""
    params, only = module.params, module.params["only"]
    if params["source"] != "given":
        which = "release" if params["source"] == "served" else "previous"
        return dict(recorded(host, which, only))
    declared = {
        pool: Worker(**{name: fields[name] for name in FIELDS}) for pool, fields in params["pools"].items()
    }
    all_pools: dict[str, Worker | None] = {**dict.fromkeys(host.pools()), **declared}
    return {pool: worker for pool, worker in all_pools.items() if pool in only or not only}


def run(module: AnsibleModule, host: Machine) -> dict[str, Any]:
    """Run the rollover, and return what was done."""
    params = module.params
    workers = desired(module, host)
    result: dict[str, Any] = serve(
        host,
        workers,
        {pool: fields["slice"] for pool, fields in params["pools"].items() if pool in workers},
        Probation(
            params["timeout"], params["probation"], params["probation_tasks"], params["probation_failures"]
        ),
        params["restart"],
        module.check_mode,
    )
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    host = Machine()
    if reason := refusal(module.params["fleet"], host.root):
        module.fail_json(msg=reason)
    try:
        if module.check_mode:
            module.exit_json(**run(module, host))
        with host.alone():
            result = run(module, host)
    except (RecordError, RolloverError, SystemdError, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
