"""Shows how a site changes its fleet: each example's files, and the plan for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from fleet.plan.fleet import fleet_plan
from fleet.plan.tables import fleet_text

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = ROOT / "docs/examples/overrides"


def examples() -> list[str]:
    """Return the names of the examples."""
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def example(name: str, raw: dict[str, Any]) -> str:
    """Write the files of an example that make it differ, and the plan's answer.

    Args:
        name: Directory of the example, an inventory.
        raw: The repository's own model.
    """
    inventory = EXAMPLES / name
    environment = _read(inventory / "group_vars/all.yml")
    model = raw | {key.removeprefix("fleet_"): value for key, value in environment.items()}
    hosts = {}
    for group, host, variables in _hosts(_read(inventory / "hosts.yml")["workers"], "workers"):
        variables |= _read(inventory / f"host_vars/{host}.yml")
        hosts[host] = {
            "groups": [group, "workers"],
            "pools": variables.get("fleet_host_pools", {}),
            "hardware": {"declared": variables["fleet_hardware"]},
        }
    files = [path for path in sorted(inventory.rglob("*.yml")) if not path.is_symlink()]
    shown = "".join(_file(path, inventory) for path in files)
    # What hosts have is written in the inventory above.
    answer = fleet_text(fleet_plan(model, hosts)).split("\n\nWhat hosts have:")[0]
    return f"{shown}The plan's answer:\n\n```text\n{answer}\n```\n"


def _file(path: Path, inventory: Path) -> str:
    text = path.read_text().removeprefix("---\n")
    return f"`{path.relative_to(inventory)}`:\n\n```yaml\n{text}```\n\n"


def _read(path: Path) -> dict[str, Any]:
    """Return the variables of a file, if it is there."""
    variables = yaml.safe_load(path.read_text()) if path.exists() else {}
    return dict(variables)


def _hosts(entry: dict[str, Any], group: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return the group, the name and the variables of every host in a group of an inventory."""
    for host, variables in (entry.get("hosts") or {}).items():
        yield group, host, dict(variables or {})
    for child, inner in (entry.get("children") or {}).items():
        yield from _hosts(inner, child)
