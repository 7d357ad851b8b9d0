#!/usr/bin/python
"""Make the archive of a release on the controller."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.release import (
    Entry,
    ReleaseError,
    archive,
    from_directory,
    from_git,
    locked_version,
    release_id,
    require_hashes,
)

DOCUMENTATION = r"""
module: app_bundle
short_description: Make the archive of a release on the controller
description:
  - Collects the application's source, the C(celery_fleet) package and the lock into one archive, and names
    the release after their content. The same content gives the same name on every controller.
  - Writes nothing but the cache, so it works in check mode too and never reports a change.
options:
  name:
    description: Name of the application, which labels a release that has no version.
    type: str
    required: true
  source:
    description: Where the application comes from.
    type: dict
    required: true
    options:
      type:
        description: Kind of the source.
        type: str
        choices: [directory, git, package]
        required: true
      path:
        description: Source tree on the controller.
        type: path
      url:
        description: What C(git clone) is given.
        type: str
      version:
        description: Tag, branch or commit.
        type: str
      requirement:
        description: A wheel on the controller, or a package that the lock pins, such as C(shop==1.4.2).
        type: str
  requirements:
    description: Lock with hashes; in the source tree, or of a package a path on the controller.
    type: str
    required: true
  python:
    description: Interpreter on the hosts, part of the release's name.
    type: str
    required: true
  kit:
    description: Directory of the C(celery_fleet) package.
    type: path
    required: true
  cache:
    description: Directory on the controller for archives and git mirrors.
    type: path
    required: true
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Make the archive of the demo application
  celery_fleet.kit.app_bundle:
    name: demo
    source: {type: directory, path: /srv/demo}
    requirements: requirements.lock
    python: python3
    kit: /srv/celery-fleet/celery_fleet
    cache: /srv/celery-fleet/.cache
  delegate_to: localhost
"""

RETURN = r"""
release:
  description: Name of the release.
  type: str
  returned: always
  sample: demo-0123456789ab
archive:
  description: The archive on the controller.
  type: str
  returned: always
lock:
  description: A copy of the lock on the controller, named after its content.
  type: str
  returned: always
wheel:
  description: Path in the release of the application's own wheel, empty if it has none.
  type: str
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "source": {
        "type": "dict",
        "required": True,
        "options": {
            "type": {"type": "str", "required": True, "choices": ["directory", "git", "package"]},
            "path": {"type": "path"},
            "url": {"type": "str"},
            "version": {"type": "str"},
            "requirement": {"type": "str"},
        },
        "required_if": [
            ["type", "directory", ["path"]],
            ["type", "git", ["url", "version"]],
            ["type", "package", ["requirement"]],
        ],
    },
    "requirements": {"type": "str", "required": True},
    "python": {"type": "str", "required": True},
    "kit": {"type": "path", "required": True},
    "cache": {"type": "path", "required": True},
}


def collect(params: dict[str, Any]) -> tuple[str, list[Entry], bytes]:
    """Return the label, the files and the lock of the application."""
    source, wanted = params["source"], params["requirements"]
    if source["type"] == "package":
        lock = Path(wanted)
        if not lock.is_file():
            raise ReleaseError(
                f"fleet_app.requirements: {lock} is no file on the controller; a package needs its path"
            )
        pinned, requirement = require_hashes(lock.read_text(), str(lock)), source["requirement"]
        if not requirement.endswith(".whl"):
            return locked_version(requirement, pinned, str(lock)), [], lock.read_bytes()
        wheel = Path(requirement)
        if not wheel.is_file():
            raise ReleaseError(f"fleet_app.source.requirement: there is no wheel {wheel} on the controller")
        return (
            wheel.name.split("-")[1],
            [Entry(f"package/{wheel.name}", wheel.read_bytes())],
            lock.read_bytes(),
        )

    if source["type"] == "git":
        mirror = Path(params["cache"]) / "git" / hashlib.sha256(source["url"].encode()).hexdigest()[:12]
        files, commit = from_git(source["url"], source["version"], mirror, "src")
        label = commit[:12] if source["version"] == commit else source["version"]
    else:
        files, label = from_directory(Path(source["path"]), "src"), params["name"]
    locks = [entry.data for entry in files if entry.path == f"src/{wanted}"]
    if not locks:
        raise ReleaseError(
            f"fleet_app.requirements: the source has no {wanted}; "
            "make it with `uv pip compile --generate-hashes`, or name the lock that it has"
        )
    require_hashes(locks[0].decode(), wanted)
    return label, files, locks[0]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params, cache = module.params, Path(module.params["cache"])
    try:
        label, entries, lock = collect(params)
        entries += from_directory(Path(params["kit"]), "kit/celery_fleet")
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    entries.append(Entry("requirements.lock", lock))
    release = release_id(label, entries, params["python"])

    packed = cache / "releases" / f"{release}.tar.gz"
    if not packed.is_file():
        archive(entries, packed)
    copy = cache / "locks" / f"{hashlib.sha256(lock).hexdigest()[:12]}.lock"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(lock)
    wheel = next((entry.path for entry in entries if re.match(r"package/.*\.whl$", entry.path)), "")
    module.exit_json(changed=False, release=release, archive=str(packed), lock=str(copy), wheel=wheel)


if __name__ == "__main__":
    main()
