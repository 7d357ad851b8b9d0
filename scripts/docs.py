"""Writes what the docs repeat of the model between their `generated` marks; `--check` only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from fleet.plan import host_plan

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", "docs/model.md")
BLOCK: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
MIB_PER_GIB: Final = 1024


def model() -> dict[str, Any]:
    """Read the model as a site finds it, without an environment's changes."""
    variables: dict[str, Any] = {}
    for path in sorted((ROOT / "group_vars/all").glob("*.yml")):
        variables |= yaml.safe_load(path.read_text())
    return {
        "pool_defaults": variables["fleet_pool_defaults"],
        "pools": variables["fleet_pools"],
        "environment_pools": {},
        "profiles": variables["fleet_profiles"],
        "reserve": variables["fleet_reserve"],
        "routing": variables["fleet_routing"],
        "broker": {**variables["fleet_broker"], "nodes": ["broker"]},
        "app": {**variables["fleet_app"], "environment": {}},
    }


def plans(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Plan one server of each profile, of the size that it has in the lab."""
    workers = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["workers"]["children"]
    found = []
    for profile, group in workers.items():
        hardware = next(iter(group["hosts"].values()))["lab_hardware"]
        facts = {"cores": hardware["cores"], "memory_mib": hardware["memory_gib"] * MIB_PER_GIB}
        plan = host_plan(raw, profile, [profile], {}, facts, "host")
        found.append({**plan, "size": f"{hardware['cores']} cores, {hardware['memory_gib']} GB"})
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def pools(raw: dict[str, Any]) -> str:
    """Say for each pool where it runs and with what limits."""
    return table(
        (
            "pool",
            "servers",
            "tasks at once",
            "bound by",
            "prefetch",
            "tasks per child",
            "hard / soft limit (s)",
            "a task needs",
        ),
        (
            (
                f"`{name}`",
                f"`{plan['host']}` ({plan['size']})",
                f"**{pool['concurrency']}**",
                pool["bound_by"],
                pool["prefetch_multiplier"],
                pool["max_tasks_per_child"],
                f"{pool['time_limit']} / {pool['soft_time_limit']}",
                f"{pool['demand']['cores']:g} cores, {pool['demand']['memory_mib']:g} MiB",
            )
            for plan in plans(raw)
            for name, pool in plan["pools"].items()
        ),
    )


def queues(raw: dict[str, Any]) -> str:
    """Say for each queue what feeds it and how much it holds."""
    return table(
        ("exchange", "routing key", "queue", "max length", "when full", "pool"),
        (
            (
                f"`{pool['exchange']}`",
                f"`{queue['routing_key']}`",
                f"`{name}`",
                queue["max_length"],
                queue["overflow"],
                f"`{owner}`",
            )
            for plan in plans(raw)
            for owner, pool in plan["pools"].items()
            for name, queue in pool["queues"].items()
        ),
    )


def picture(raw: dict[str, Any]) -> str:
    """Draw the way of a task: exchange, queue, pool, server."""
    lines = ["```mermaid", "flowchart LR", "  client([publishers])"]
    for plan in plans(raw):
        lines.append(f'  subgraph {plan["host"]}["{plan["host"]} · {plan["size"]}"]')
        lines += [
            f'    pool_{name}["{name} pool<br/>{pool["concurrency"]} tasks at once"]'
            for name, pool in plan["pools"].items()
        ]
        lines.append("  end")
        for name, pool in plan["pools"].items():
            lines.append(f"  client --> {pool['exchange']}{{{{{pool['exchange']}}}}}")
            for queue, fields in pool["queues"].items():
                lines.append(f"  {pool['exchange']} -- {fields['routing_key']} --> {queue}[({queue})]")
                lines.append(f"  {queue} --> pool_{name}")
    return "\n".join([*lines, "```", ""])


BLOCKS: Final = {"pools": pools, "queues": queues, "picture": picture}


def main(arguments: Sequence[str]) -> int:
    """Rewrite the pages, or say which are out of date.

    Returns:
        0; 1 if `--check` finds a page that differs from the model.
    """
    raw, stale = model(), []
    for name in PAGES:
        page = ROOT / name
        old = page.read_text()
        new = BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]](raw) + match[3], old)
        if new != old:
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(new)
    if stale and "--check" in arguments:
        print(f"Out of date with group_vars: {', '.join(stale)}; run scripts/docs.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
