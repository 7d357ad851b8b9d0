#!/usr/bin/python
"""Read how units of a host are, and which of the files that they read have changed since their start."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import (
    SystemdError,
    units_and_files,
)

DOCUMENTATION = r"""
module: host_units
short_description: Read how units of a host are, and which files have changed since their start
description:
  - Also finds what a run changed that was interrupted before it could restart what reads it.
options:
  files:
    description: By unit the files that it reads at its start; RV(stale) lists those that are newer.
    type: dict
    required: true
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Compare what runs with its files
  celery_fleet.kit.host_units:
    files:
      nginx.service: [/etc/nginx/nginx.conf]
"""

RETURN = r"""
units:
  description: How the units of O(files) are, by name; C(active) and C(enabled) are as systemd calls them.
  type: dict
  returned: always
stale:
  description: By unit the files that are newer than its start.
  type: dict
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {"files": {"type": "dict", "required": True}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        units, stale = units_and_files(module.params["files"])
    except SystemdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, units=units, stale=stale)


if __name__ == "__main__":
    main()
