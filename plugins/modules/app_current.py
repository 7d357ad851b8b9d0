#!/usr/bin/python
"""Point an application's current link at a release, and remove releases that nothing needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import Surplus, prune, surplus
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.state import HostState, StateError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: app_current
short_description: Point an application's current link at a release, and remove releases that nothing needs
description:
  - The link is made anew and renamed over the old one, so there is no moment without a current release.
  - Keeps the releases that were current last, the current one, and every one that an instance may run
    or that a rollback needs. A release that never was completed is removed as well, unless
    it is being built, and so are units that nothing needs.
options:
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
  release:
    description: Name of the release, which in check mode need not be there yet.
    type: str
    required: true
  keep:
    description: How many complete releases stay, the current one among them; without it none is removed.
    type: int
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Make a release the current one, and keep two others
  celery_fleet.kit.app_current:
    root: /opt/demo
    release: demo-0123456789ab
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

ARGUMENTS: dict[str, dict[str, Any]] = {
    "root": {"type": "path", "required": True},
    "release": {"type": "str", "required": True},
    "keep": {"type": "int"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    root, release, keep = Path(module.params["root"]), module.params["release"], module.params["keep"]
    releases = root / "releases"
    mark = releases / release / ".complete"
    if not module.check_mode and not mark.exists():
        module.fail_json(msg=f"{releases / release} is no complete release")
    host, state, unneeded = Machine(), HostState(module.check_mode), Surplus()
    present = sorted(path.name for path in releases.iterdir() if path.is_dir()) if releases.is_dir() else []
    try:
        changes = state.apply([{"link": str(root / "current"), "to": f"releases/{release}"}])
        if keep is not None and module.check_mode:
            unneeded = surplus(host, root, release, keep)
        elif keep is not None:
            with host.alone():
                unneeded = prune(host, root, release, keep)
    except (StateError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    removed = [path.name for path in unneeded.releases]
    diff = [
        {
            "before_header": change.item,
            "after_header": change.item,
            "before": change.before,
            "after": change.after,
        }
        for change in changes
    ]
    if removed:
        before, after = (
            "".join(f"{name}\n" for name in names) for names in (present, sorted(set(present) - set(removed)))
        )
        diff.append(
            {"before_header": str(releases), "after_header": str(releases), "before": before, "after": after}
        )
    if unneeded.units:
        before = "".join(f"{path.name}\n" for path in unneeded.units)
        diff.append(
            {"before_header": str(host.units), "after_header": str(host.units), "before": before, "after": ""}
        )
    module.exit_json(changed=bool(diff), removed=removed, in_use=list(unneeded.in_use), diff=diff)


if __name__ == "__main__":
    main()
