#!/usr/bin/python
"""Make the archive of a release on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.bundle import Application, make_bundle
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.release import ReleaseError

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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params = module.params
    application = Application(params["name"], params["source"], params["requirements"], params["python"])
    try:
        bundle = make_bundle(application, Path(params["kit"]), Path(params["cache"]))
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **{key: str(value) for key, value in vars(bundle).items()})


if __name__ == "__main__":
    main()
