"""Let exactly the wanted instances of the pools' workers serve on a host."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.host import Host
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import identity
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import (
    prune_units,
    surplus_units,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.rollover import (
    Rollover,
    RolloverError,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.steps import Step, steps
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.systemd import SystemdError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.trial import Trial

DOCUMENTATION = r"""
module: worker_instances
short_description: Let exactly the wanted instances of the pools' workers serve on a host
description:
  - Starts an instance of each pool beside the old one and watches it. Only when all of them have proved
    themselves the old ones are disabled and asked to stop; nobody waits for what they still run.
  - If one does not prove itself, all new ones are removed, the old ones serve on, and the module fails with
    the end of the journal.
  - An instance that already is what is wanted is left alone. So a run that was cut off may be repeated.
  - Pools that are marked as drained run nothing, whatever is wanted.
options:
  source:
    description: >-
      What is wanted: the units that are given, those that serve now, or those of the release before.
    type: str
    choices: [given, served, previous]
    default: given
  units:
    description: Text of each pool's unit, its number open, for O(source=given). Other pools go.
    type: dict
    default: {}
  slices:
    description: Text of each pool's slice, for O(source=given).
    type: dict
    default: {}
  only:
    description: Pools to which the run is restricted; all if empty.
    type: list
    elements: str
    default: []
  restart:
    description: Whether even an instance that is what is wanted is replaced.
    type: bool
    default: false
  timeout:
    description: Seconds until a new instance must be ready.
    type: int
    required: true
  probation:
    description: For how many seconds the first tasks of a new instance are watched.
    type: float
    default: 5
  probation_tasks:
    description: How many of its tasks are enough.
    type: int
    default: 20
  probation_failures:
    description: It is refused if so many of them have failed, and more than half.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Replace what serves by the same
  celery_fleet.kit.worker_instances:
    source: served
    restart: true
    timeout: 90
"""

RETURN = r"""
differs:
  description: Whether anything was, or is, to be done; the same as C(changed), whatever a task makes of that.
  type: bool
  returned: always
pools:
  description: >-
    For each pool of the run what C(was) the release, what it C(is), the C(unit), what is C(done) (V(kept),
    V(started), V(drained) or V(gone)) and which units still C(finish).
  type: dict
  returned: success
"""


def wanted_texts(module: AnsibleModule, host: Host) -> dict[str, str | None]:
    """Give the unit of each pool of the run; none for a pool that goes."""
    params, only = module.params, set(module.params["only"])
    texts: dict[str, str | None]
    if params["source"] == "given":
        texts = {**dict.fromkeys(host.pools()), **params["units"]}
        return {pool: text for pool, text in texts.items() if pool in only or not only}
    which = "release" if params["source"] == "served" else "previous"
    texts, missing = {}, []
    for pool, record in host.served().items():
        if only and pool not in only:
            continue
        path = host.text(record.get(which) or "-", pool)
        if path.exists():
            texts[pool] = path.read_text()
        else:
            missing.append(pool)
    if missing and not texts:
        module.fail_json(
            msg=f"This host has no record of a release of {', '.join(missing)} "
            + (
                "before the present one: there is nothing to go back to"
                if which == "previous"
                else "yet: deploy first"
            )
        )
    return texts


def differences(module: AnsibleModule, host: Host, found: list[Step]) -> list[dict[str, str]]:
    """Give what changes as Ansible shows it."""
    diffs = []
    for pool, text in sorted(module.params["slices"].items()):
        path = host.units / f"celery-fleet-{pool}.slice"
        before = path.read_text() if path.exists() else ""
        if before != text:
            diffs.append(
                {"before_header": str(path), "after_header": str(path), "before": before, "after": text}
            )
    for step in found:
        if not step.changes:
            continue
        before, after = "", ""
        for old in step.old:
            before += f"{old.name.unit}: {old.state}{', enabled' if old.enabled else ''}\n"
            after += f"{old.name.unit}: finishes what it runs\n"
        record = host.served().get(step.pool, {})
        path = host.text(record.get("release") or "-", step.pool)
        if step.serve:
            before += path.read_text() if path.exists() else ""
            after += (module.params["units"].get(step.pool) or "") + f"{step.serve.unit}: serves\n"
        diffs.append(
            {"before_header": step.pool, "after_header": step.pool, "before": before, "after": after}
        )
    return diffs


def write_slices(host: Host, slices: dict[str, str]) -> None:
    """Write the slices that differ; systemd applies them to what runs in them."""
    differing = {
        path: text
        for pool, text in slices.items()
        if not (path := host.units / f"celery-fleet-{pool}.slice").exists() or path.read_text() != text
    }
    for path, text in differing.items():
        path.write_text(text)
    if differing:
        host.systemctl("daemon-reload")


def record(host: Host, texts: dict[str, str | None]) -> None:
    """Write down what serves now, and keep its units."""
    served = host.served()
    for pool, text in texts.items():
        if text is None:
            served.pop(pool, None)
            continue
        release, _ = identity(text)
        before = served.get(pool, {})
        if before.get("release") != release:
            served[pool] = {"release": release, "previous": before.get("release", "")}
        path = host.text(release, pool)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if served != host.served():
        host.serve(served)


def run(module: AnsibleModule, host: Host) -> dict[str, Any]:
    """Do it, and say what was done."""
    params = module.params
    texts = wanted_texts(module, host)
    asked = {pool: text and identity(text) for pool, text in texts.items()}
    before = host.served()
    found = steps(host.instances(), asked, host.drained(), params["restart"])
    diff = differences(module, host, found)
    kept = {pool: text for pool, text in texts.items() if text}
    stale = [
        pool
        for pool, text in kept.items()
        if before.get(pool, {}).get("release") != (asked[pool] or ("",))[0]
    ]
    removed = [path.name for path in surplus_units(host, before)] if module.check_mode else []
    if not module.check_mode:
        write_slices(host, params["slices"])
        trial = Trial(
            params["timeout"], params["probation"], params["probation_tasks"], params["probation_failures"]
        )
        Rollover(host, kept, trial).run(found)
        record(host, texts)
        removed = prune_units(host)
    return {
        "changed": bool(diff or stale or removed),
        "differs": bool(diff or stale or removed),
        "diff": diff,
        "pools": {
            step.pool: {
                "was": before.get(step.pool, {}).get("release", ""),
                "is": (asked[step.pool] or ("",))[0],
                "unit": step.serve.unit if step.serve else "",
                "done": "gone"
                if asked[step.pool] is None
                else "drained"
                if not step.serve
                else "started"
                if step.new or step.start
                else "kept",
                "finish": [old.name.unit for old in step.old if old.state != "inactive"],
            }
            for step in found
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "choices": ["given", "served", "previous"], "default": "given"},
            "units": {"type": "dict", "default": {}},
            "slices": {"type": "dict", "default": {}},
            "only": {"type": "list", "elements": "str", "default": []},
            "restart": {"type": "bool", "default": False},
            "timeout": {"type": "int", "required": True},
            "probation": {"type": "float", "default": 5},
            "probation_tasks": {"type": "int", "default": 20},
            "probation_failures": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    host = Host()
    try:
        if module.check_mode:
            module.exit_json(**run(module, host))
        with host.alone():
            result = run(module, host)
    except (RolloverError, SystemdError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
