#!/usr/bin/python
"""Remove the fleet from a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import ARGUMENT, refusal
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import InUseError, retire
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: host_retire
short_description: Remove the fleet from a host
description:
  - Removes units, slices, releases, records, settings, passwords and the kit's program. Fails, and removes
    nothing, while an instance of a pool runs.
options:
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
extends_documentation_fragment: [celery_fleet.kit.fleet]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Remove the fleet from a host
  celery_fleet.kit.host_retire:
    root: /opt/demo
"""

RETURN = r"""
removed:
  description: Paths that were removed.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = ARGUMENT | {"root": {"type": "path", "required": True}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host, root = Machine(), Path(module.params["root"])
    if reason := refusal(module.params["fleet"], host.root):
        module.fail_json(msg=reason)
    try:
        with host.alone():
            removed = retire(host, root, module.check_mode)
    except (InUseError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": "".join(f"{path}\n" for path in removed), "after": ""}
    module.exit_json(changed=bool(removed), removed=removed, diff=diff)


if __name__ == "__main__":
    main()
