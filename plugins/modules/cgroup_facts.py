"""Facts on what a container may use of the host that it shows."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.cgroup import limits

DOCUMENTATION = r"""
module: cgroup_facts
short_description: Facts on what a container may use of the host that it shows
description:
  - C(/proc) of a container shows the cores and the memory of the machine around it. This reads the CPU quota
    and the memory limit of the control groups (version 1 and 2) that hold everything the host's init starts.
attributes:
  check_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Gather the limits of the host's container
  celery_fleet.kit.cgroup_facts:
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host.
  type: dict
  returned: always
  contains:
    fleet_limits:
      description: C(cores) and C(memory_mib) that may be used; null where there is no limit.
      type: dict
"""


def main() -> None:
    """Run the module."""
    # Plays gather with the arguments of setup, if with any.
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={"fleet_limits": limits()})


if __name__ == "__main__":
    main()
