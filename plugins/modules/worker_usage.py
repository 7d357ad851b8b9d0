#!/usr/bin/python
"""Read what the tasks of a host's pools used."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.usage import read

DOCUMENTATION = r"""
module: worker_usage
short_description: Read what the tasks of a host's pools used
description:
  - Reads the counters of the workers, their control groups and processes, and asks systemd once about all
    units. Sends nothing to the broker or to a worker, and changes nothing.
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read what tasks used
  celery_fleet.kit.worker_usage:
  register: tune_used
"""

RETURN = r"""
pools:
  description: What the tasks of each pool used since its counters and its slice began.
  type: dict
  returned: always
errors:
  description: Files of counters that could not be read.
  type: int
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **read(Machine()))
    except (SystemdError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
