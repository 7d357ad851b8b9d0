#!/usr/bin/python
"""Read what the fleet's units of a host have logged."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.journal import (
    JournalError,
    Query,
    follow,
    read,
)

DOCUMENTATION = r"""
module: worker_logs
short_description: Read what the fleet's units of a host have logged
description:
  - Reads the journal of the host; changes nothing.
  - With O(after), the action of this name shows each entry when it comes, until somebody interrupts it.
options:
  pools:
    description: Names of pools; if empty, all units of the fleet.
    type: list
    elements: str
    default: []
  ids:
    description: Tasks by their ids; entries that name one of these or of O(tasks).
    type: list
    elements: str
    default: []
  tasks:
    description: Names of tasks, or patterns of them.
    type: list
    elements: str
    default: []
  states:
    description: Only the ends of tasks in one of these states.
    type: list
    elements: str
    default: []
  earliest:
    description: The earliest time, as journalctl(1) takes it; a clock time is UTC.
    type: str
    default: ""
  latest:
    description: The latest time, likewise.
    type: str
    default: ""
  lines:
    description: The most entries, of which the last are read.
    type: int
    default: 100
  after:
    description: Wait for entries behind this place in the journal, which an earlier task returned.
    type: str
  wait:
    description: Seconds to wait for the first.
    type: float
    default: 20
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read how the last tasks of a pool failed
  celery_fleet.kit.worker_logs:
    pools: [io]
    states: [FAILURE]
  register: logs
"""

RETURN = r"""
entries:
  description:
    - The entries, the oldest first, each with its C(time) in microseconds since the epoch, C(unit), C(pool),
      C(priority) and C(text).
  type: list
  elements: dict
  returned: always
cursor:
  description: The place in the journal behind them.
  type: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "pools": {"type": "list", "elements": "str", "default": []},
    "ids": {"type": "list", "elements": "str", "default": []},
    "tasks": {"type": "list", "elements": "str", "default": []},
    "states": {"type": "list", "elements": "str", "default": []},
    "earliest": {"type": "str", "default": ""},
    "latest": {"type": "str", "default": ""},
    "lines": {"type": "int", "default": 100},
    "after": {"type": "str"},
    "wait": {"type": "float", "default": 20},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    query = Query(**{name: params[name] for name in Query.__dataclass_fields__})
    try:
        if params["after"] is None:
            entries, cursor = read(query, params["lines"])
        else:
            entries, cursor = follow(query, params["after"], params["wait"])
    except (JournalError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, entries=entries, cursor=cursor)


if __name__ == "__main__":
    main()
