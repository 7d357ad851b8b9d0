"""Read which pools of the fleet a host runs now, and with what figures."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import PREFIX
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.plan.installed import read_units

DOCUMENTATION = r"""
module: worker_state
short_description: Read which pools of the fleet a host runs now, and with what figures
description:
  - Reads the fleet's installed units and slices and asks systemd which of them run. Changes nothing.
  - Environments are not returned, because they may hold secrets.
attributes:
  check_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Look at what runs
  celery_fleet.kit.worker_state:
  register: worker_now
"""

RETURN = r"""
pools:
  description: The figures and the running releases of each pool that has units on the host.
  type: dict
  returned: always
"""

UNITS = Path("/etc/systemd/system")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    texts = {path.name: path.read_text() for path in UNITS.glob(f"{PREFIX}*") if path.is_file()}
    instances = []
    if texts:
        _, listed, _ = module.run_command(
            ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{PREFIX}*@*.service"],
            check_rc=True,
        )
        # unit, whether it is loaded, its state, …
        instances = [(words[0], words[2]) for line in listed.splitlines() if len(words := line.split()) > 2]
    module.exit_json(changed=False, pools=read_units(texts, instances))


if __name__ == "__main__":
    main()
