#!/usr/bin/python
"""Run a command of a release on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.command import (
    Command,
    CommandError,
    Job,
    hook_unit,
    new_unit,
    tidy,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: app_command
short_description: Run a command of a release on a host
description:
  - systemd runs it as the application's user, with the environment, secrets and sandbox of its workers.
  - The command goes on if the controller or the connection dies. A hook that runs already is followed and
    not started again; one that has ended well is not run again for its release.
  - An action plugin of the same name shows the output while the command runs, by running the module again
    for the next part of it.
options:
  argv:
    description: The program and its arguments. The release's own programs come before the host's.
    type: list
    elements: str
    required: true
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
  release:
    description: Name of the release; without one, the current one.
    type: str
  pool:
    description: Pool of the host whose environment it gets; without one, that of the whole application.
    type: str
    default: ""
  description:
    description: What it is, for people; for a hook with the release.
    type: str
    required: true
  hook:
    description: >-
      Which kind of hook it is, of which one at a time runs on a host. Without it, it is a command of its own.
    type: str
  mark:
    description: File by which a hook is known to have run for its release.
    type: path
  timeout:
    description: Seconds that it may take.
    type: int
    required: true
  unit:
    description: The unit of a command that runs already, which is followed.
    type: str
  offset:
    description: Bytes of its output that are known.
    type: int
    default: 0
  wait:
    description: Seconds to wait for output.
    type: float
    default: 5
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Show what the application would migrate
  celery_fleet.kit.app_command:
    argv: [python, manage.py, showmigrations]
    root: /opt/demo
    description: showmigrations
    timeout: 60
"""

RETURN = r"""
running:
  description: Whether the module must be run again for the rest.
  type: bool
  returned: always
unit:
  description: Its unit.
  type: str
  returned: when it was started
stdout:
  description: What it printed, from O(offset) on.
  type: str
  returned: when it was started
offset:
  description: Bytes of its output that are known now.
  type: int
  returned: when it was started
rc:
  description: Its exit code; 128 and the number of the signal that ended it, 124 if it took too long.
  type: int
  returned: when it has ended
waits_for:
  description: What else runs as a hook of this kind, whose end is awaited.
  type: str
  returned: when there is such a command
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "root": {"type": "path", "required": True},
    "release": {"type": "str"},
    "pool": {"type": "str", "default": ""},
    "description": {"type": "str", "required": True},
    "hook": {"type": "str"},
    "mark": {"type": "path"},
    "timeout": {"type": "int", "required": True},
    "unit": {"type": "str"},
    "offset": {"type": "int", "default": 0},
    "wait": {"type": "float", "default": 5},
}


def run(params: dict[str, Any], host: Machine, check: bool) -> dict[str, Any]:
    """Start or follow the command, and return the result of the module.

    Raises:
        CommandError: It can't be started.
        SystemdError: systemd refuses it.
    """
    hook, mark = params["hook"], params["mark"] and Path(params["mark"])
    unit = params["unit"] or (hook_unit(hook) if hook else new_unit())
    job = Job(host, unit, mark)
    if not params["unit"]:
        if job.done:
            return {"changed": False, "running": False, "rc": 0, "msg": "The release has had it"}
        if check:
            return {"changed": True, "running": False, "msg": f"Would run: {' '.join(params['argv'])}"}
        tidy(host)
        command = Command(params["argv"], Path(params["root"]), release(params), params["pool"])
        if (runs := job.start(command, params["description"], params["timeout"])) != params["description"]:
            host.sleep(params["wait"])
            return {"changed": False, "running": True, "waits_for": runs}
    progress = job.follow(params["offset"], params["wait"], params["timeout"])
    result = {
        "changed": True,
        "running": progress.running,
        "unit": unit,
        "stdout": progress.output,
        "offset": progress.offset,
    }
    if progress.running:
        return result
    job.forget(keep_failed=hook is not None)
    ended = {"rc": progress.rc, "failed": progress.rc != 0, "msg": f"{params['description']}: {progress.how}"}
    return result | ended


def release(params: dict[str, Any]) -> str:
    """Return the release: the current one unless it is named.

    Raises:
        CommandError: There is none.
    """
    current = Path(params["root"]) / "current"
    if params["release"]:
        return str(params["release"])
    if not current.is_symlink():
        raise CommandError(f"There is no {current}: deploy first")
    return current.readlink().name


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params, Machine(), module.check_mode)
    except (CommandError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
