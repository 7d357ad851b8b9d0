#!/usr/bin/python
"""Move tasks in from another broker, for some seconds."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: move_in
short_description: Move tasks in from another broker
description:
  - Runs C(python -m celery_fleet move-in) with the options on its standard input, where nobody sees them.
  - An action plugin of the same name runs it again until all tasks are moved, and shows how far it is.
options:
  argv:
    description: The command, with who runs it.
    type: list
    elements: str
    required: true
  source:
    description: URL of the old broker with its password.
    type: str
    required: true
  password:
    description: Password of the user of the staging queue.
    type: str
    required: true
  options:
    description: The other options of the command.
    type: dict
    default: {}
  patience:
    description:
      - Seconds after which no further portion is begun although something is left at the old broker, such as
        tasks behind those that its workers finish; 0 for none.
    type: int
    default: 0
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Move the tasks of a Redis in
  celery_fleet.kit.move_in:
    argv: [/opt/demo/current/venv/bin/python, -P, -m, celery_fleet, move-in]
    source: "{{ vault_old_broker }}"
    password: "{{ password }}"
"""

RETURN = r"""
before:
  description: Messages at the old broker by list or queue; C(after) are those that are left.
  type: dict
  returned: success
moved:
  description: Tasks moved to each queue of the fleet; in check mode those that would be.
  type: dict
  returned: success
notes:
  description: What stays, and why.
  type: list
  elements: str
  returned: success
held:
  description: Queues that were left for later, because workers of the old broker finish tasks of them.
  type: list
  elements: str
  returned: success
done:
  description: Whether all is moved.
  type: bool
  returned: success
waits:
  description: Whether there is no room in the queues of the fleet.
  type: bool
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "source": {"type": "str", "required": True, "no_log": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "options": {"type": "dict", "default": {}},
    "patience": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    given = {
        **params["options"],
        "source": params["source"],
        "password": params["password"],
        "look": module.check_mode,
    }
    status, output, errors = module.run_command(params["argv"], data=json.dumps(given), cwd="/")
    if status != 0:
        module.fail_json(msg=errors.strip().splitlines()[-1] if errors.strip() else f"ended with {status}")
    result = json.loads(output)
    module.exit_json(changed=bool(result["moved"]), **result)


if __name__ == "__main__":
    main()
