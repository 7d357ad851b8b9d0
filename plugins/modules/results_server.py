#!/usr/bin/python
"""Read how the server of results on a host is, or let it read its users again."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.results import (
    ResultsError,
    read_users,
    stale,
    status,
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
stale:
  description: Files that are newer than the server.
  type: list
  elements: str
  returned: always
stale_users:
  description: Whether its file of users is newer than what it has read.
  type: bool
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {"reload": {"type": "bool", "default": False}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    reload = module.params["reload"]
    try:
        if reload and not module.check_mode:
            read_users()
        figures = status()
    except ResultsError as error:
        if reload:
            module.fail_json(msg=f"the server of results did not read its users: {error}")
        unknown = {"stale": [], "stale_users": False}
        module.exit_json(changed=False, answers=False, error=str(error), figures={}, **unknown)
    module.exit_json(
        changed=reload,
        answers=not figures["loading"],
        error="",
        figures=figures,
        **stale(figures["uptime_in_seconds"]),
    )


if __name__ == "__main__":
    main()
