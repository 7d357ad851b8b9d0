#!/usr/bin/python
"""Find or install the interpreter of the application on a host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.pythons import (
    PythonError,
    about,
    find,
    place_of,
    program_in,
    unpacked,
)

DOCUMENTATION = r"""
module: app_python
short_description: Find or install the interpreter of the application on a host
description:
  - Finds the interpreter that a site names, and asks it what it is as a user without rights; one that the
    application's user may not run is refused.
  - Or unpacks a Python that the controller brings, below the application's directory.
options:
  python:
    description: A command, a path, or a version such as C(3.12).
    type: str
    required: true
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
  archive:
    description: Archive on the host that holds the interpreter, removed after use.
    type: path
  sha256:
    description: Checksum of the archive; without it an interpreter of the host is taken.
    type: str
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Find the interpreter
  celery_fleet.kit.app_python:
    python: "3.12"
    root: /opt/demo
"""

RETURN = r"""
path:
  description: The program; empty until its archive is unpacked.
  type: str
  returned: always
version:
  description: Its version.
  type: str
  returned: if there is a program
target:
  description: The kind of host, as the module C(app_wheelhouse) takes it.
  type: str
  returned: if there is a program
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "python": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "archive": {"type": "path"},
    "sha256": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    changed = False
    try:
        if params["sha256"]:
            place = place_of(Path(params["root"]), params["sha256"])
            missing = not place.is_dir()
            changed = missing and bool(params["archive"])
            if missing and (module.check_mode or not params["archive"]):
                module.exit_json(changed=changed, path="")
            if missing:
                unpacked(Path(params["archive"]), params["sha256"], place)
            found = about(str(program_in(place)))
        else:
            found = find(params["python"])
    except PythonError as error:
        module.fail_json(msg=f"fleet_app.python: {error}")
    module.exit_json(changed=changed, target=found.target, **asdict(found))


if __name__ == "__main__":
    main()
