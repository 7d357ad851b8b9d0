#!/usr/bin/python
"""Download the wheels of a lock for hosts without a package index."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.indexes import INDEXES
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.lock.fetch import with_login
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.lock.requirement import (
    Requirement,
    without_credentials,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.lock.requirements_file import (
    read_requirements,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.release import (
    ReleaseError,
    wheel_platforms,
)

DOCUMENTATION = r"""
module: app_wheelhouse
short_description: Download the wheels of a lock for hosts without a package index
description:
  - Runs on the controller, once for each kind of host, and keeps what it downloaded by the lock's content.
  - Writes nothing but the cache, so it works in check mode too and never reports a change.
options:
  lock:
    description: Requirements of a release on the controller, or of another tool.
    type: path
    required: true
  targets:
    description: Kinds of hosts, each as C(<python> <machine> <glibc>), such as C(3.13 x86_64 2.41).
    type: list
    elements: str
    required: true
  cache:
    description: Directory on the controller.
    type: path
    required: true
extends_documentation_fragment: [celery_fleet.kit.indexes]
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Download the wheels for the hosts
  celery_fleet.kit.app_wheelhouse:
    lock: /srv/celery-fleet/.cache/locks/0123456789ab.lock
    targets: [3.11 x86_64 2.36, 3.13 x86_64 2.41]
    cache: /srv/celery-fleet/.cache
  delegate_to: localhost
"""

RETURN = r"""
wheelhouses:
  description: One uncompressed tar archive of wheels for each kind of host.
  type: dict
  returned: always
  sample: {3.13 x86_64 2.41: /srv/celery-fleet/.cache/wheels/0123456789ab-3.13-x86_64-2.41.tar}
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "lock": {"type": "path", "required": True},
    "targets": {"type": "list", "elements": "str", "required": True},
    "indexes": INDEXES,
    "cache": {"type": "path", "required": True},
}


def for_target(requirements: Iterable[Requirement], python: str, machine: str) -> str:
    """Leave out what a kind of host doesn't need.

    pip evaluates markers for the interpreter that runs it, which is the controller's.
    """
    needed = [requirement for requirement in requirements if requirement.applies(python, machine)]
    # pip takes some hashes for a demand of all.
    hashed = all(requirement.hashes for requirement in needed)
    bare = (replace(r, marker="", hashes=r.hashes if hashed else ()) for r in needed)
    return "".join(f"{requirement.line}\n" for requirement in bare)


def pip(cache: Path) -> list[str]:
    """Return the command that runs pip; the controller's own environment need not have one.

    Raises:
        ReleaseError: the controller's Python can't make a virtual environment with pip.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    python = cache / "pip" / "bin" / "python"
    command = [sys.executable, "-m", "venv", "--clear", str(cache / "pip")]
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if process.returncode != 0:
        raise ReleaseError(
            f"no pip on the controller, and none could be made:\n{process.stdout}{process.stderr}"
        )
    return [str(python), "-m", "pip"]


def pip_environment(indexes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the environment in which pip asks some indexes; it shows no password of their addresses."""
    addresses = [with_login(index) for index in indexes]
    if not addresses:
        return {}
    return {"PIP_INDEX_URL": addresses[0], "PIP_EXTRA_INDEX_URL": " ".join(addresses[1:])}


def download(
    lock: Path, target: str, wheels: Path, command: list[str], environment: Mapping[str, str]
) -> None:
    """Fill an archive with the wheels of one kind of host.

    Raises:
        ReleaseError: pip failed, most often because a dependency has no wheel for these hosts.
    """
    python, machine, glibc = target.split()
    with tempfile.TemporaryDirectory(dir=wheels.parent) as place:
        pinned, directory = Path(place) / "lock.txt", Path(place) / "wheels"
        pinned.write_text(for_target(read_requirements(lock, lock.parent).requirements, python, machine))
        platforms = [f"--platform={platform}" for platform in wheel_platforms(machine, glibc)]
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            [
                *command, "download", "--quiet", "--disable-pip-version-check", "--no-input",
                "--no-deps", "--only-binary=:all:", "--implementation=cp",
                f"--python-version={python}", *platforms, f"--dest={directory}", f"--requirement={pinned}",
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        if process.returncode != 0:
            missing = re.search(r"No matching distribution found for (\S+)", process.stderr)
            raise ReleaseError(
                f"{missing[1]} has no wheel for Python {python} on {machine} with glibc {glibc}: pin a "
                "version that has one, or set fleet_app.wheelhouse to false for hosts that reach an index"
                if missing
                else f"pip could not download the wheels: {without_credentials(process.stderr.strip())}"
            )
        temporary = Path(place) / "wheels.tar"
        with tarfile.open(temporary, "w") as tar:
            for wheel in sorted(directory.iterdir()):
                tar.add(wheel, wheel.name)
        # What the cache has is never downloaded again.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(wheels)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    lock, cache = Path(module.params["lock"]), Path(module.params["cache"])
    (cache / "wheels").mkdir(parents=True, exist_ok=True)
    name = f"{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    wheelhouses = {
        target: cache / "wheels" / f"{name}-{target.replace(' ', '-')}.tar"
        for target in sorted(set(module.params["targets"]))
    }
    missing = {target: wheels for target, wheels in wheelhouses.items() if not wheels.is_file()}
    try:
        command = pip(cache) if missing else []
        for target, wheels in missing.items():
            download(lock, target, wheels, command, pip_environment(module.params["indexes"]))
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, wheelhouses={key: str(wheels) for key, wheels in wheelhouses.items()})


if __name__ == "__main__":
    main()
