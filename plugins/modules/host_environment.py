#!/usr/bin/python
"""Make the Python environment of a lock on a host, without an index."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.environment import (
    COMPLETE,
    ENVIRONMENTS,
    BuildError,
    Environments,
    run,
    uv_in,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.pythons import (
    PythonError,
    find,
)

DOCUMENTATION = r"""
module: host_environment
short_description: Make the Python environment of a lock on a host, without an index
description:
  - Installs the wheels that the controller brought, by their hashes, and runs no code of theirs.
  - An environment that is complete is left alone. Those with other names are removed.
options:
  root:
    description: Directory that has the environments, such as C(/opt/celery-fleet-flower).
    type: path
    required: true
  name:
    description: Name of the environment, another one for each lock and interpreter.
    type: str
    required: true
  python:
    description: Its interpreter, a command, a path or a version.
    type: str
    required: true
  lock:
    description: Requirements on the host, with hashes.
    type: path
    required: true
  wheels:
    description: Archive of the lock's wheels on the host, removed after use.
    type: path
    required: true
  uv:
    description: Archive of a wheel of uv on the host.
    type: path
    required: true
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Install Flower
  celery_fleet.kit.host_environment:
    root: /opt/celery-fleet-flower
    name: 0123456789abcdef
    python: python3
    lock: /opt/celery-fleet-flower/requirements.txt
    wheels: /opt/celery-fleet-flower/tools/flower-0123456789ab-3.13-x86_64-2.41.tar
    uv: /opt/celery-fleet-flower/tools/uv-0123456789ab-3.13-x86_64-2.41.tar
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "root": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "python": {"type": "str", "required": True},
    "lock": {"type": "path", "required": True},
    "wheels": {"type": "path", "required": True},
    "uv": {"type": "path", "required": True},
}


def make(root: Path, name: str, python: str, lock: Path, wheels: Path, uv: Path) -> None:
    """Make an environment, and remove those with other names.

    Args:
        root: Directory that has the environments.
        name: Name of the environment.
        python: Its interpreter.
        lock: Requirements with hashes.
        wheels: Archive of their wheels, which is removed.
        uv: Archive of a wheel of uv.

    Raises:
        BuildError: A step failed.
        PythonError: There is no such interpreter.
    """
    environments = Environments(root, uv_in(uv, root))

    def install(place: Path) -> None:
        with tempfile.TemporaryDirectory(dir=root) as unpacked:
            run("Unpacking the wheels", "tar", "-xf", str(wheels), "-C", unpacked, "--no-same-owner")
            environments.install(
                place,
                *("--no-deps", "--only-binary=:all:", "--require-hashes"),
                *("--no-index", f"--find-links={unpacked}", f"--requirements={lock}"),
            )

    place, _ = environments.make(name, find(python), install)
    wheels.unlink(missing_ok=True)
    for other in place.parent.iterdir():
        if (other / COMPLETE).exists() and other != place:
            shutil.rmtree(other)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    places = {name: Path(module.params[name]) for name in ("root", "lock", "wheels", "uv")}
    name = module.params["name"]
    changed = not (places["root"] / ENVIRONMENTS / name / COMPLETE).exists()
    if changed and not module.check_mode:
        try:
            make(name=name, python=module.params["python"], **places)
        except (BuildError, PythonError, OSError, tarfile.TarError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
