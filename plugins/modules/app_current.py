"""Point an application's current link at a release, and remove releases that nothing needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.host import Host
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import surplus_releases
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.state import HostState, StateError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError

DOCUMENTATION = r"""
module: app_current
short_description: Point an application's current link at a release, and remove releases that nothing needs
description:
  - The link is made anew and renamed over the old one, so there is no moment without a current release.
  - Keeps the releases that were current last, the current one, and every one that an instance may run
    or that a rollback needs. A release that never was completed is removed as well.
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
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
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


def completed_last(releases: Path) -> str:
    """Give the release that was made current last."""
    complete = [path for path in releases.glob("*/.complete") if path.is_file()]
    newest = max(complete, key=lambda path: path.stat().st_mtime, default=None)
    return newest.parent.name if newest else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "keep": {"type": "int"},
        },
        supports_check_mode=True,
    )
    root, release, keep = Path(module.params["root"]), module.params["release"], module.params["keep"]
    releases = root / "releases"
    mark = releases / release / ".complete"
    if not module.check_mode and not mark.exists():
        module.fail_json(msg=f"{releases / release} is no complete release")
    state = HostState(module.check_mode)
    there = sorted(path.name for path in releases.iterdir() if path.is_dir()) if releases.is_dir() else []
    removed: list[str] = []
    in_use: list[str] = []
    try:
        changes = state.apply([{"link": str(root / "current"), "to": f"releases/{release}"}])
        if keep is not None:
            removed, in_use = surplus_releases(Host(), root, release, keep)
    except (StateError, SystemdError) as error:
        module.fail_json(msg=str(error))
    if not module.check_mode:
        # The mark's age tells when a release was current, also after a way back to an older one.
        if completed_last(releases) != release:
            mark.touch()
        for name in removed:
            shutil.rmtree(releases / name)
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
            "".join(f"{name}\n" for name in names) for names in (there, sorted(set(there) - set(removed)))
        )
        diff.append(
            {"before_header": str(releases), "after_header": str(releases), "before": before, "after": after}
        )
    module.exit_json(changed=bool(diff), removed=removed, in_use=in_use, diff=diff)


if __name__ == "__main__":
    main()
