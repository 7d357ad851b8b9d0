#!/usr/bin/python
"""Read how the server of results on a host is, or let it read its users again."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.results import (
    ResultsError,
    read_users,
    stale_users,
    status,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import (
    SystemdError,
    units_and_files,
)

DOCUMENTATION = r"""
module: results_server
short_description: Read how the server of results on a host is, or let it read its users again
description:
  - Asks it over its socket, as the kit's user, whose password lies on the host.
options:
  reload:
    description: Whether it reads its file of users again; connections go on.
    type: bool
    default: false
  files:
    description: By unit the files that it reads at its start; RV(stale) lists those that are newer.
    type: dict
    default: {}
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read how the server of results is
  celery_fleet.kit.results_server:
"""

RETURN = r"""
answers:
  description: Whether it answers, and has read its file.
  type: bool
  returned: always
error:
  description: Why it does not answer.
  type: str
  returned: always
figures:
  description: Memory, limit, state of its file, refused writes.
  type: dict
  returned: always
units:
  description: How the units of O(files) are, by name.
  type: dict
  returned: always
stale:
  description: By unit the files that are newer than its start.
  type: dict
  returned: always
stale_users:
  description: Whether its file of users is newer than what it has read.
  type: bool
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "reload": {"type": "bool", "default": False},
    "files": {"type": "dict", "default": {}},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    reload = module.params["reload"]
    try:
        units, stale = units_and_files(module.params["files"])
    except SystemdError as error:
        module.fail_json(msg=str(error))
    known = {"units": units, "stale": stale}
    try:
        if reload and not module.check_mode:
            read_users()
        figures = status()
    except ResultsError as error:
        if reload:
            module.fail_json(msg=f"the server of results did not read its users: {error}")
        module.exit_json(
            changed=False, answers=False, error=str(error), figures={}, stale_users=False, **known
        )
    module.exit_json(
        changed=reload,
        answers=not figures["loading"],
        error="",
        figures=figures,
        stale_users=stale_users(figures["uptime_in_seconds"]),
        **known,
    )


if __name__ == "__main__":
    main()
