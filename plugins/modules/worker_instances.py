#!/usr/bin/python
"""Run exactly the wanted instances of the pools' workers on a host."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.records import Worker
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.rollover import RolloverError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.serve import (
    RecordError,
    recorded,
    serve,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.trial import Trial

DOCUMENTATION = r"""
module: worker_instances
short_description: Run exactly the wanted instances of the pools' workers on a host
description:
  - Starts an instance of each pool beside the old one and watches it. Only when all of them have proved
    themselves the old ones are disabled and asked to stop; nobody waits for what they still run.
  - If one does not prove itself, all new ones are removed, the old ones serve on, and the module fails with
    the end of the journal.
  - An instance that already is what is wanted is left alone. So a run that was cut off may be repeated.
  - Pools that are marked as drained run nothing, whatever is wanted.
options:
  source:
    description: >-
      What is wanted: the pools that are given, those that serve now, or those of the release before.
    type: str
    choices: [given, served, previous]
    default: given
  pools:
    description: >-
      What each pool is to run, for O(source=given); other pools go. Each has C(release), C(digest),
      C(rollover), C(figures), and the texts of its C(unit), its number open, and C(slice), as the lookup
      P(celery_fleet.kit.workers#lookup) gives them.
    type: dict
    default: {}
  only:
    description: Pools to which the run is restricted; all if empty.
    type: list
    elements: str
    default: []
  restart:
    description: Whether even an instance that is what is wanted is replaced.
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
    description: How many of its tasks are enough.
    type: int
    default: 20
  probation_failures:
    description: It is refused if so many of them have failed, and more than half.
    type: int
    default: 3
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
  description: Whether anything was, or is, to be done; the same as C(changed), whatever a task makes of that.
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

ARGUMENTS: dict[str, dict[str, Any]] = {
    "source": {"type": "str", "choices": ["given", "served", "previous"], "default": "given"},
    "pools": {"type": "dict", "default": {}},
    "only": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "bool", "default": False},
    "timeout": {"type": "int", "required": True},
    "probation": {"type": "float", "default": 5},
    "probation_tasks": {"type": "int", "default": 20},
    "probation_failures": {"type": "int", "default": 3},
}


def wanted(module: AnsibleModule, host: Machine) -> dict[str, Worker | None]:
    """Return what each pool of the run is to run; none for a pool that goes."""
    params, only = module.params, module.params["only"]
    if params["source"] != "given":
        which = "release" if params["source"] == "served" else "previous"
        return dict(recorded(host, which, only))
    given = {pool: Worker(**{name: told[name] for name in FIELDS}) for pool, told in params["pools"].items()}
    every: dict[str, Worker | None] = {**dict.fromkeys(host.pools()), **given}
    return {pool: worker for pool, worker in every.items() if pool in only or not only}


def run(module: AnsibleModule, host: Machine) -> dict[str, Any]:
    """Do it, and say what was done."""
    params = module.params
    workers = wanted(module, host)
    result: dict[str, Any] = serve(
        host,
        workers,
        {pool: told["slice"] for pool, told in params["pools"].items() if pool in workers},
        Trial(
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
