"""Remove releases that nothing needs any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.host import Host
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import surplus_releases
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: app_prune
short_description: Remove releases that nothing needs any more
description:
  - Keeps the releases that were current last, the current one, and every one that an instance may run
    or that a rollback needs.
  - A release that never was completed is removed as well.
options:
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
  current:
    description: Name of the release that C(current) leads to, or will lead to after a run without check mode.
    type: str
    required: true
  keep:
    description: How many complete releases stay, the current one among them.
    type: int
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Keep three releases
  celery_fleet.kit.app_prune:
    root: /opt/demo
    current: demo-0123456789ab
    keep: 3
"""

RETURN = r"""
removed:
  description: Names of the releases that were removed.
  type: list
  elements: str
  returned: always
in_use:
  description: Names of the releases that stay only because an instance runs them.
  type: list
  elements: str
  returned: always
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "current": {"type": "str", "required": True},
            "keep": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    root, current, keep = (
        Path(module.params["root"]) / "releases",
        module.params["current"],
        module.params["keep"],
    )
    there = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    host = Host()
    complete = [path for path in there if (path / ".complete").exists()]
    complete.sort(key=lambda path: (path / ".complete").stat().st_mtime, reverse=True)
    try:
        removed, in_use = surplus_releases(host, root.parent, current, keep)
    except SystemdError as error:
        module.fail_json(msg=str(error))
    if not module.check_mode:
        # The marker's age tells when a release was current, also after a way back to an older one.
        if complete and complete[0].name != current and current in {path.name for path in complete}:
            (root / current / ".complete").touch()
        for name in removed:
            shutil.rmtree(root / name)
    before = "".join(f"{path.name}\n" for path in sorted(there))
    after = "".join(f"{path.name}\n" for path in sorted(there) if path.name not in removed)
    module.exit_json(
        changed=bool(removed),
        removed=removed,
        in_use=in_use,
        diff={"before": before, "after": after},
    )


if __name__ == "__main__":
    main()
