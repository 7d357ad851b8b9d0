"""How long `site.yml` takes, beside the same end state by Ansible's stock modules, at some sizes of a fleet.

    scripts/run bench.site [--sizes 1,4,8] [--repeat 3] [--json FILE] [--keep]

Makes hosts in containers (a broker and as many workers as the size says), brings them up with the kit and
measures the first run, a run that changes nothing, and one after a line of the model changed; then makes them
anew and does the same with `bench/stock/site.yml` and Ansible's own settings. Of each run it counts the
seconds, the tasks, and the round trips: every start of `ssh`, `sftp` or `scp`, before which it puts programs
that count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from fleet.text import columns

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / ".cache" / "bench-site"
LAB: Final = "bench-site"
# The last addresses of the lab's network, which no scenario has.
NETWORK: Final = "10.123.45."
BROKER_ADDRESS: Final = 200
SIZES: Final = (1, 4, 8)
# A small server that runs all four pools, each of them small.
HARDWARE: Final = {"cores": 2, "memory_gib": 4}
SMALL: Final = {"demand": {"cores": 0.1, "memory_mib": 200}, "max_concurrency": 2}
POOLS: Final = ("cpu", "io", "memory", "general")
# The one line that changes: what a unit of a worker says.
LINE: Final = {"max_tasks_per_child": 77}
TRANSPORTS: Final = ("ssh", "sftp", "scp")
RUNS: Final = ("first", "unchanged", "one line")


@dataclass(frozen=True)
class Measure:
    """One run of a playbook.

    Attributes:
        way: ``kit`` or ``stock``.
        size: How many worker hosts there are.
        run: Which of ``RUNS``.
        seconds: How long it took.
        processor: Seconds of processor time of the controller, without the hosts'.
        tasks: How many tasks it had, handlers among them.
        trips: How often it went to a host.
    """

    way: str
    size: int
    run: str
    seconds: float
    processor: float
    tasks: int
    trips: int


def inventory(size: int, line: bool = False) -> Path:
    """Write the inventory of a fleet.

    Args:
        size: How many worker hosts it has.
        line: Whether the one line is changed.

    Returns:
        Its directory.
    """
    place = PLACE / f"inventory-{size}"
    (place / "group_vars").mkdir(parents=True, exist_ok=True)
    workers = {
        f"bench-worker-{number}": {"ansible_host": f"{NETWORK}{BROKER_ADDRESS + number}"}
        for number in range(1, size + 1)
    }
    hosts = {
        "brokers": {"hosts": {"bench-broker": {"ansible_host": f"{NETWORK}{BROKER_ADDRESS}"}}},
        "workers": {"children": {"small_servers": {"hosts": workers}}},
    }
    state = "{{ ansible_config_file | dirname }}/.lab/" + LAB
    fixed = {
        "ansible_user": "deploy",
        "ansible_become": True,
        "ansible_ssh_private_key_file": f"{ROOT}/.lab/{LAB}/id_ed25519",
        "ansible_ssh_common_args": "-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes "
        f"-o UserKnownHostsFile={ROOT}/.lab/{LAB}/known_hosts -o ServerAliveInterval=2",
        "lab_name": LAB,
        "lab_state_dir": state,
        "lab_debian": "trixie",
        "lab_hardware": HARDWARE,
        "fleet_profiles": {"small_servers": {"pools": {pool: {} for pool in POOLS}}},
        "fleet_environment_pools": {
            pool: SMALL | (LINE if line and pool == "general" else {}) for pool in POOLS
        },
    }
    (place / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (place / "group_vars" / "all.yml").write_text(yaml.safe_dump(fixed))
    return place


def counters(place: Path) -> dict[str, str]:
    """Put a program before each transport that counts its starts.

    Args:
        place: Where the programs and the count are written.

    Returns:
        What makes Ansible use them, as environment variables.
    """
    place.mkdir(parents=True, exist_ok=True)
    chosen = {}
    for name in TRANSPORTS:
        program = place / name
        program.write_text(f'#!/bin/sh\necho {name} >>"{place}/trips"\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
        chosen[f"ANSIBLE_{name.upper()}_EXECUTABLE"] = str(program)
    return chosen


def ansible(playbook: Path, hosts: Path, config: Path, *options: str) -> tuple[int, int]:
    """Run a playbook, with Ansible's own output, whose tasks can be counted.

    Args:
        playbook: The playbook.
        hosts: Directory of the inventory.
        config: Ansible's settings.
        options: Further arguments.

    Returns:
        How many tasks it had, and how many round trips.

    Raises:
        SystemExit: It failed.
    """
    trips = PLACE / "bin" / "trips"
    environment = os.environ | counters(PLACE / "bin")
    environment |= {"ANSIBLE_CONFIG": str(config), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    trips.write_text("")
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(hosts),
        *options,
        str(playbook),
    ]
    process = subprocess.run(  # noqa: S603 - no shell
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        sys.exit(f"{playbook} failed:\n{process.stdout}\n{process.stderr}")
    tasks = len(re.findall(r"(?m)^(?:TASK|RUNNING HANDLER) \[", process.stdout))
    return tasks, len(trips.read_text().splitlines())


def measure(way: str, size: int, run: str, *options: str) -> Measure:
    """Run a fleet's playbook once, and measure it."""
    hosts = inventory(size, line=run == "one line")
    playbook = ROOT / ("site.yml" if way == "kit" else "bench/stock/site.yml")
    config = ROOT / ("ansible.cfg" if way == "kit" else "bench/stock/ansible.cfg")
    before, begun = os.times(), time.monotonic()
    tasks, trips = ansible(playbook, hosts, config, *options)
    after, seconds = os.times(), time.monotonic() - begun
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    measured = Measure(way, size, run, round(seconds, 1), round(spent, 1), tasks, trips)
    print(f"{way} {size} {run}: {measured.seconds} s, {tasks} tasks, {trips} round trips", file=sys.stderr)
    return measured


def lab(hosts: Path, verb: str) -> None:
    """Create or destroy the hosts."""
    ansible(ROOT / f"playbooks/lab_{verb}.yml", hosts, ROOT / "ansible.cfg")


def documents(size: int, line: bool) -> list[str]:
    """Have the kit derive what the stock playbook declares, and return the arguments that pass it on."""
    place = PLACE / "documents.json"
    options = ("-e", f"documents={place}")
    ansible(ROOT / "bench/documents.yml", inventory(size, line), ROOT / "ansible.cfg", *options)
    return ["-e", f"@{place}", "-e", f"kit={ROOT}"]


def fleet(way: str, size: int, repeat: int) -> list[Measure]:
    """Bring a fleet up on fresh hosts, and measure all runs."""
    hosts = inventory(size)
    lab(hosts, "destroy")
    shutil.rmtree(hosts / ".secrets", ignore_errors=True)
    lab(hosts, "create")
    medians = []
    for run in RUNS:
        options = documents(size, run == "one line") if way == "stock" else []
        times = repeat if run == "unchanged" else 1
        measures = [measure(way, size, run, *options) for _ in range(times)]
        middle = statistics.median_low(each.seconds for each in measures)
        medians.append(next(each for each in measures if each.seconds == middle))
    return medians


def slope(measures: Iterable[Measure], way: str, run: str) -> float:
    """Return the seconds that each further host costs: the least squares over all sizes."""
    points = [(each.size, each.seconds) for each in measures if (each.way, each.run) == (way, run)]
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def table(measures: Sequence[Measure]) -> str:
    """Write one line per run and size, and what each further host costs."""
    rows: list[tuple[str, ...]] = [
        ("workers", "run", "kit s", "stock s", "ratio", "tasks", "stock", "trips", "stock")
    ]
    by = {(each.way, each.size, each.run): each for each in measures}
    for size in sorted({each.size for each in measures}):
        for run in RUNS:
            kit, stock = by.get(("kit", size, run)), by.get(("stock", size, run))
            cells: list[Any] = [size, run]
            cells += [each.seconds if each else "" for each in (kit, stock)]
            cells += [f"{kit.seconds / stock.seconds:.2f}" if kit and stock else ""]
            cells += [each.tasks if each else "" for each in (kit, stock)]
            cells += [each.trips if each else "" for each in (kit, stock)]
            rows.append(tuple(map(str, cells)))
    for run in RUNS:
        kit_s, stock_s = slope(measures, "kit", run), slope(measures, "stock", run)
        ratio = f"{kit_s / stock_s:.2f}" if stock_s else ""
        rows.append(("per host", run, f"{kit_s:.2f}", f"{stock_s:.2f}", ratio, "", "", "", ""))
    return "\n".join(columns(rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="scripts/run bench.site", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of worker hosts")
    parser.add_argument(
        "--repeat", type=int, default=3, help="unchanged runs, of which the middle one counts"
    )
    parser.add_argument("--ways", default="kit,stock", help="kit, stock or both")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    options = parser.parse_args(arguments)
    measures: list[Measure] = []
    for size in map(int, options.sizes.split(",")):
        for way in options.ways.split(","):
            measures += fleet(way, size, options.repeat)
    if not options.keep:
        lab(inventory(max(each.size for each in measures)), "destroy")
    print(table(measures))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in measures], indent=2) + "\n")


if __name__ == "__main__":
    main()
