"""Let exactly the wanted instances of the fleet's worker units run on a host."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: worker_instances
short_description: Let exactly the wanted instances of the fleet's worker units run on a host
description:
  - With O(state=retired) stops and disables every instance of another release, of a pool that the host has
    no longer, or that was started from another unit file than the present one. A stopped worker first
    finishes the tasks that it runs; all pools do so at the same time.
  - With O(state=started) enables and starts the wanted instances and waits until they consume. A failure
    gives the end of the unit's journal.
  - Knows the fleet's units by C(CELERY_FLEET_POOL) in them, and touches no other.
options:
  state:
    description: Which half to do.
    type: str
    choices: [retired, started]
    required: true
  pools:
    description: Pools of the host.
    type: list
    elements: str
    required: true
  release:
    description: Release to run, which is the instance's name.
    type: str
    required: true
  changed:
    description: Pools whose unit file this run changes, or would change without check mode.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for the end state. For O(state=retired) a longer stop is no failure.
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
- name: Stop what should not run
  celery_fleet.kit.worker_instances:
    state: retired
    pools: [io, general]
    release: demo-0123456789ab
    timeout: 20
"""

RETURN = r"""
pending:
  description: Instances that still finish their tasks; in check mode none.
  type: list
  elements: str
  returned: always
surplus:
  description: Pools that have unit files on the host and should not.
  type: list
  elements: str
  returned: always
"""

UNITS = Path("/etc/systemd/system")
# Each start leaves there the digest of the unit that it was started from.
RUNTIME = Path("/run/celery-fleet")
RUNNING = ("active", "activating", "reloading", "deactivating")
# A worker that crashed so often since it was started won't come up by itself within the timeout.
CRASHES = 3


@dataclass(frozen=True)
class Instance:
    """What systemd knows of one instance."""

    unit: str
    state: str = "inactive"
    restarts: int = 0
    stale: bool = False

    @property
    def pool(self) -> str:
        """Name of its pool."""
        return self.unit.removeprefix("celery-fleet-").partition("@")[0]

    @property
    def enabled(self) -> bool:
        """Whether it is started at boot."""
        return (UNITS / "multi-user.target.wants" / self.unit).is_symlink()

    @property
    def outdated(self) -> bool:
        """Whether its unit changed since it was started, or it never was."""
        marker = RUNTIME / self.unit.removesuffix(".service") / "digest"
        unit = UNITS / f"celery-fleet-{self.pool}@.service"
        present = re.search(r"CELERY_FLEET_DIGEST=(\w+)", unit.read_text()) if unit.exists() else None
        return not marker.exists() or present is None or marker.read_text().strip() != present[1]


def pools_on_host() -> list[str]:
    """Give the pools that have a unit file of the fleet."""
    return sorted(
        path.name.removeprefix("celery-fleet-").removesuffix("@.service")
        for path in UNITS.glob("celery-fleet-*@.service")
        if "CELERY_FLEET_POOL=" in path.read_text()
    )


class Systemd:
    """systemd on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def call(self, *arguments: str) -> str:
        """Run systemctl; a failure ends the module."""
        output: str = self.module.run_command(["systemctl", *arguments], check_rc=True)[1]
        return output

    def show(self, units: list[str]) -> dict[str, Instance]:
        """Describe units."""
        if not units:
            return {}
        properties = "--property=Id,ActiveState,NRestarts,NeedDaemonReload"
        found: dict[str, Instance] = {}
        for block in self.call("show", properties, "--", *units).strip().split("\n\n"):
            value = dict(line.partition("=")[::2] for line in block.splitlines())
            found[value["Id"]] = Instance(
                value["Id"],
                value["ActiveState"],
                int(value.get("NRestarts") or 0),
                value["NeedDaemonReload"] == "yes",
            )
        return found

    def instances(self, pools: list[str]) -> list[Instance]:
        """Give the instances of these pools that run or are started at boot."""
        patterns = [f"celery-fleet-{pool}@*.service" for pool in pools]
        if not patterns:
            return []
        listing = self.call("list-units", "--all", "--plain", "--no-legend", "--full", *patterns)
        units = {line.split()[0] for line in listing.splitlines() if line.strip()}
        units |= {
            path.name for pattern in patterns for path in UNITS.glob(f"multi-user.target.wants/{pattern}")
        }
        shown = self.show(sorted(units)).values()
        return [instance for instance in shown if instance.state in RUNNING or instance.enabled]

    def reload(self, units: list[str], slices: list[str]) -> None:
        """Let systemd read the unit files again if it should."""
        if any(instance.stale for instance in self.show([*units, *slices]).values()):
            self.call("daemon-reload")


def retire(module: AnsibleModule, systemd: Systemd, wanted: list[str], surplus: list[str]) -> None:
    """Stop and disable what should not run."""
    params = module.params
    others = [
        instance
        for instance in systemd.instances(sorted({*params["pools"], *surplus}))
        if instance.unit not in wanted
        or (instance.state in RUNNING and (instance.outdated or instance.pool in params["changed"]))
    ]
    disable = [instance.unit for instance in others if instance.unit not in wanted and instance.enabled]
    stop = [instance.unit for instance in others if instance.state in ("active", "activating", "reloading")]
    pending = [instance.unit for instance in others if instance.state in RUNNING and not module.check_mode]
    if not module.check_mode:
        if disable:
            systemd.call("disable", "--quiet", *disable)
        if stop:
            systemd.call("stop", "--no-block", *stop)
        end = time.monotonic() + params["timeout"]
        while pending and time.monotonic() < end:
            time.sleep(0.3)
            pending = [unit for unit, now in systemd.show(pending).items() if now.state in RUNNING]
        if surplus and not pending:
            systemd.call("stop", *(f"celery-fleet-{pool}.slice" for pool in surplus))
    before = "".join(f"{instance.unit}: {instance.state}\n" for instance in others)
    after = "".join(f"{instance.unit}: inactive\n" for instance in others)
    changed = bool(stop or disable)
    diff = {"before": before, "after": after if changed else before}
    module.exit_json(changed=changed, pending=pending, surplus=surplus, diff=diff)


def start(module: AnsibleModule, systemd: Systemd, wanted: list[str], surplus: list[str]) -> None:
    """Enable and start what should run, and wait until it consumes."""
    params = module.params
    now = systemd.show(wanted)
    enable = [unit for unit in wanted if not now[unit].enabled]
    begin = [
        unit
        for unit in wanted
        if now[unit].state not in RUNNING or now[unit].outdated or now[unit].pool in params["changed"]
    ]
    changed = bool(enable or begin)
    before = "".join(f"{unit}: {now[unit].state}\n" for unit in wanted)
    after = "".join(f"{unit}: active\n" for unit in wanted)
    diff = {"before": before, "after": after if changed else before}
    if module.check_mode:
        module.exit_json(changed=changed, pending=[], surplus=surplus, diff=diff)

    systemd.reload(wanted, [f"celery-fleet-{now[unit].pool}.slice" for unit in wanted])
    if enable:
        systemd.call("enable", "--quiet", *enable)
    if begin:
        systemd.call("start", "--no-block", *begin)
    end = time.monotonic() + params["timeout"]
    while waiting := [unit for unit, found in systemd.show(wanted).items() if found.state != "active"]:
        crashed = [unit for unit, found in systemd.show(waiting).items() if found.restarts >= CRASHES]
        if crashed or time.monotonic() > end:
            failed = (crashed or waiting)[0]
            journal = module.run_command(
                ["journalctl", "--no-pager", "--output=cat", "-n", "40", "-u", failed]
            )[1]
            what = f"crashed {CRASHES} times" if crashed else f"is not ready after {params['timeout']} s"
            module.fail_json(msg=f"{failed} {what}; the end of its journal:\n{journal}", pending=waiting)
        time.sleep(0.3)
    module.exit_json(changed=changed, pending=[], surplus=surplus, diff=diff)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["retired", "started"]},
            "pools": {"type": "list", "elements": "str", "required": True},
            "release": {"type": "str", "required": True},
            "changed": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    pools, release = sorted(module.params["pools"]), module.params["release"]
    wanted = [f"celery-fleet-{pool}@{release}.service" for pool in pools]
    surplus = [pool for pool in pools_on_host() if pool not in pools]
    act = retire if module.params["state"] == "retired" else start
    act(module, Systemd(module), wanted, surplus)


if __name__ == "__main__":
    main()
