#!/usr/bin/python
"""Every fact of a host that the kit reads, in one step."""

from __future__ import annotations

import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts.hardware.linux import LinuxHardware
from ansible.module_utils.facts.network.linux import LinuxNetwork
from ansible.module_utils.facts.system.distribution import DistributionFactCollector
from ansible.module_utils.facts.system.local import LocalFactCollector
from ansible.module_utils.facts.system.platform import PlatformFactCollector
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.vault_id import look
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.cgroup import limits
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.disk import BROKER_DATA, size_mib
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import carried
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.packages import policy
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.pythons import looked_for
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.kit import installed

DOCUMENTATION = r"""
module: host_facts
short_description: Every fact of a host that the kit reads, in one step
description:
  - Platform, distribution, processors, memory, network and C(facts.d), collected as M(ansible.builtin.setup)
    does, without its disks, devices and services, which the kit never reads.
  - C(/proc) of a container shows the cores and the memory of the machine around it, so this also reads the
    CPU quota and the memory limit of the control groups (version 1 and 2) above what the host's init starts.
  - Looks for the interpreter that the application is to have, if it is given.
  - Looks up the users that publish tasks, if some are given.
  - Asks apt for packages, if some are given.
  - Reports by hashes which file of secrets the host's secrets come from.
options:
  python:
    description: A command, a path or a version; empty if none is looked for.
    type: str
    default: ""
  packages:
    description: Packages of which RV(ansible_facts.fleet_packages) tells the versions.
    type: list
    elements: str
    default: []
  users:
    description: Users of which RV(ansible_facts.fleet_accounts) names those that the host has.
    type: list
    elements: str
    default: []
  fact_path:
    description: Directory of local facts.
    type: path
    default: /etc/ansible/facts.d
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Gather the facts of the host
  celery_fleet.kit.host_facts:
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host, by the names of M(ansible.builtin.setup), and what follows.
  type: dict
  returned: always
  contains:
    fleet_accounts:
      description: Those of the given users that the host has, if some are given.
      type: list
    fleet_broker_disk_mib:
      description: Size of the file system that holds, or would hold, RabbitMQ's data.
      type: int
    fleet_kit:
      description: The version of the kit that last changed the host; empty if none says so.
      type: str
    fleet_limits:
      description: C(cores) and C(memory_mib) that may be used; null where there is no limit.
      type: dict
    fleet_marks:
      description: Name of the fleet that the host carries, by part (C(workers), C(brokers), C(results)).
      type: dict
    fleet_packages:
      description: By package the C(installed) version and the C(candidate) of apt's lists, if some are given.
      type: dict
    fleet_python:
      description: C(wanted), with C(path), C(version) and C(target) of the interpreter, or with the C(fault).
      type: dict
    fleet_vault:
      description:
        - C(mark), a hash of the id of the file of secrets; empty if there is none.
        - C(secrets), salted hashes by name, if there is no mark.
        - Null if the user may not read them.
      type: dict
"""

COLLECTORS = (PlatformFactCollector, DistributionFactCollector, LocalFactCollector)
# What LocalFactCollector reads of setup's arguments.
LOCAL_FACTS = "/etc/ansible/facts.d"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "fact_path": {"type": "path", "default": LOCAL_FACTS},
    "packages": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": ""},
    "users": {"type": "list", "elements": "str", "default": []},
}


def facts(module: AnsibleModule) -> dict[str, Any]:
    """Collect the facts."""
    collected: dict[str, Any] = {}
    for collector in COLLECTORS:
        collected |= collector().collect(module=module, collected_facts=collected)
    hardware = LinuxHardware(module)
    collected |= hardware.get_cpu_facts(collected_facts=collected)
    collected |= hardware.get_memory_facts()
    collected |= LinuxNetwork(module).populate(collected_facts=collected)
    wanted, users = module.params["python"], module.params["users"]
    known: dict[str, Any] = {"fleet_python": looked_for(wanted)} if wanted else {}
    if module.params["packages"]:
        known["fleet_packages"] = policy(module.params["packages"])
    if users:
        known["fleet_accounts"] = [user for user in users if _exists(user)]
    return (
        collected
        | known
        | {
            "fleet_broker_disk_mib": size_mib(BROKER_DATA),
            "fleet_kit": installed(),
            "fleet_limits": limits(),
            "fleet_marks": carried(),
            "fleet_vault": look(),
        }
    )


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def main() -> None:
    """Run the module."""
    # Plays gather with the arguments of setup, if with any.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts=facts(module))


if __name__ == "__main__":
    main()
