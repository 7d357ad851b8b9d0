"""Measures how long plan and preflight take, and how that grows with the number of declared hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from fleet.plan.fleet import fleet_plan
from fleet.plan.picture import svg
from fleet.plan.tables import fleet_text
from fleet.preflight.checks import find
from support.fleet_model import ROOT, load

SIZES: Final = (5, 100, 1000)
SERVERS: Final = {"cpu_servers": (16, 32), "memory_servers": (8, 128), "balanced_servers": (8, 64)}


def inventory(size: int) -> dict[str, Any]:
    """Return an inventory of so many declared workers, the profiles in turn."""
    groups: dict[str, Any] = {name: {"hosts": {}} for name in SERVERS}
    for at in range(size):
        name = list(SERVERS)[at % len(SERVERS)]
        cores, gib = SERVERS[name]
        groups[name]["hosts"][f"{name}-{at}"] = {"fleet_hardware": {"cores": cores, "memory_gib": gib}}
    # Named, so that a run can be limited to it.
    controller = {"hosts": {"localhost": None}}
    return {
        "all": controller,
        "brokers": {"hosts": {"broker": None}},
        "workers": {"children": groups},
        "clients": {"hosts": {"client": None}},
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def playbook(name: str, place: Path, *arguments: str) -> dict[str, float]:
    """Run a playbook on an inventory, and return the seconds that pass and those of a processor.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    before = os.times()
    # The environment's own Ansible, with words of this script.
    subprocess.run(  # noqa: S603
        ["ansible-playbook", "-i", str(place), f"playbooks/{name}.yml", *arguments],  # noqa: S607
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    work = after.children_user + after.children_system - before.children_user - before.children_system
    return {f"{name}.yml": after.elapsed - before.elapsed, f"{name}.yml, processor": work}


def measure(size: int, place: Path) -> dict[str, float]:
    """Time each step at one size.

    Args:
        size: Number of declared hosts.
        place: A directory for the inventory.

    Returns:
        Seconds by step.
    """
    groups = inventory(size)
    hosts_file = place / "hosts.yml"
    hosts_file.write_text(yaml.safe_dump(groups))
    children = groups["workers"]["children"]
    hosts = {
        host: {"groups": [name, "workers"], "hardware": {"declared": variables["fleet_hardware"]}}
        for name, group in children.items()
        for host, variables in group["hosts"].items()
    }
    members = {"brokers": ["broker"], "workers": list(hosts)}
    members |= {name: list(group["hosts"]) for name, group in children.items()}
    raw = load()
    document = fleet_plan(raw, hosts)
    return {
        "plan in Python": seconds(lambda: fleet_plan(raw, hosts)),
        "its text": seconds(lambda: fleet_text(document)),
        "its JSON": seconds(lambda: json.dumps(document)),
        "its picture": seconds(lambda: svg(document)),
        "preflight in Python": seconds(lambda: find(raw, hosts, members)),
        **playbook("plan", hosts_file, "-e", f"plan_output={place / 'plan.json'}"),
        # Without its play on the hosts, which do not exist.
        **playbook("preflight", hosts_file, "--limit", "localhost"),
    }


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table, with what each further host costs."""
    sizes = [int(size) for size in arguments] or list(SIZES)
    measured = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            measured.append(measure(size, Path(place)))
    head = f"{'seconds':24}" + "".join(f"{size:>10}" for size in sizes)
    print(head + f"{'ms per further host':>22}")
    for step in measured[0]:
        times = [times[step] for times in measured]
        slope = (times[-1] - times[0]) / max(1, sizes[-1] - sizes[0]) * 1000
        print(f"{step:24}" + "".join(f"{taken:10.3f}" for taken in times) + f"{slope:22.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
