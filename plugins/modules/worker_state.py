#!/usr/bin/python
"""Read which pools of the fleet a host runs now, and with what figures."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.records import installed
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: worker_state
short_description: Read which pools of the fleet a host runs now, and with what figures
description:
  - Reads the host's records of its workers and asks systemd which of them run. Changes nothing.
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read what runs
  celery_fleet.kit.worker_state:
  register: worker_now
"""

RETURN = r"""
pools:
  description: >-
    For each pool of the host its C(figures), none if it was started by an earlier kit, and the C(releases)
    that take tasks.
  type: dict
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        pools = installed(Machine())
    except (SystemdError, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, pools=pools)


if __name__ == "__main__":
    main()
