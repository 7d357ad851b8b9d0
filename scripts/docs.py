"""Writes what the docs repeat of the model between their `generated` marks; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import celery_settings
import overrides
import reference
import rights
import schema
import sites
import verbs
import yaml
from fleet.catalogue import CATALOGUE, Kind
from fleet.host.metrics import METRICS, PREFIX
from fleet.model.fields import SPECS
from fleet.monitoring.alerts import ALERTS, Alert
from fleet.monitoring.grafana import dashboards, provisioning
from fleet.plan.fleet import fleet_plan
from fleet.plan.host import host_plan
from fleet.plan.installed import plan_figures
from fleet.plan.picture import mermaid, svg
from fleet.plan.tables import fleet_text
from jinja2.nativetypes import NativeEnvironment
from reference import table

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))))
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
        "broker": {
            **variables["fleet_broker"],
            **{"vhost": variables["fleet_name"], "nodes": ["broker"], "port": 5672},
            **{"tls": False, "client_control": False},
        },
        "results": {**variables["fleet_results"], "nodes": [], "tls": False, "memory": 0.1},
        "monitoring": variables["fleet_monitoring"],
        "flower": variables["fleet_flower"],
        "app": {
            **variables["fleet_app_defaults"],
            **variables["fleet_app"],
            "environment": {},
            "secrets": {},
        },
    }


def plans(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Plan one server of each profile, of the size that it has in the lab."""
    workers = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["workers"]["children"]
    sized = []
    for profile, group in workers.items():
        hardware = next(iter(group["hosts"].values()))["lab_hardware"]
        facts = {"cores": hardware["cores"], "memory_mib": hardware["memory_gib"] * MIB_PER_GIB}
        plan = host_plan(raw, {"name": profile, "groups": [profile], "hardware": facts})
        sized.append({**plan, "size": f"{hardware['cores']} cores, {hardware['memory_gib']} GB"})
    return sized


def pools(raw: dict[str, Any]) -> str:
    """Return for each pool where it runs and with what limits."""
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
    """Return for each queue what feeds it and how much it holds."""
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


def lab(raw: dict[str, Any]) -> dict[str, Any]:
    """Plan the servers of the lab, as they are declared there."""
    workers = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["workers"]["children"]
    hosts = {
        host: {"groups": [profile], "pools": {}, "hardware": {"declared": variables["lab_hardware"]}}
        for profile, group in workers.items()
        for host, variables in group["hosts"].items()
    }
    return fleet_plan(raw, hosts)


def example(raw: dict[str, Any]) -> str:
    """Return a plan that shows every kind of entry."""
    large = {"declared": {"cores": 16, "memory_gib": 32}}
    balanced = {"groups": ["balanced_servers"], "hardware": {"cores": 8, "memory_mib": 64300}}
    (before,) = fleet_plan(raw, {"balanced-1": balanced | {"pools": {"io": {"concurrency": 40}}}})["hosts"]
    running = {
        name: {"figures": plan_figures(pool), "releases": ["r1"]} for name, pool in before["pools"].items()
    }
    hosts = {
        "cpu-1": {"groups": ["cpu_servers"], "hardware": large},
        "cpu-2": {"groups": ["cpu_servers"], "hardware": large},
        "cpu-3": {
            "groups": ["cpu_servers"],
            "hardware": large,
            "pools": {"cpu": {"concurrency": 8, "time_limit": 5400}},
        },
        "memory-1": {
            "groups": ["memory_servers"],
            "hardware": {"cores": 8, "memory_mib": 128700},
            "installed": {},
        },
        "balanced-1": balanced | {"installed": running},
        "balanced-2": {"groups": ["balanced_servers"], "hardware": None},
    }
    return f"```text\n{fleet_text(fleet_plan(raw, hosts))}\n```\n"


def single(raw: dict[str, Any]) -> str:
    """Plan servers of several sizes that hold everything."""
    variables = yaml.safe_load((ROOT / "inventories/single/group_vars/all/fleet.yml").read_text())
    reserve = {
        key: NativeEnvironment().from_string(str(share)).render(variables)
        for key, share in variables["fleet_reserve"].items()
    }
    raw = {
        **raw,
        "environment_pools": variables["fleet_environment_pools"],
        "profiles": variables["fleet_profiles"],
        "reserve": reserve,
    }
    sizes = ((2, 4), (4, 8), (8, 16), (32, 64))
    hosts = {
        f"{cores} cores, {gib} GB": {
            "groups": ["single_servers"],
            "hardware": {"declared": {"cores": cores, "memory_gib": gib}},
        }
        for cores, gib in sizes
    }
    entries = fleet_plan(raw, hosts)["hosts"]
    return table(
        ("server", *(f"`{name}`" for name in entries[0]["pools"])),
        ((host["host"], *(pool["concurrency"] for pool in host["pools"].values())) for host in entries),
    )


def findings(_: dict[str, Any]) -> str:
    """Explain every finding, by what it is about."""
    areas: dict[str, list[tuple[str, Kind]]] = {}
    for name, kind in CATALOGUE.items():
        areas.setdefault(name.partition("/")[0], []).append((name, kind))
    head = ("finding", "", "what it is", "why it hurts", "what to do", "known from")
    return "\n".join(
        f"## {area}\n\n"
        + table(
            head,
            (
                (
                    f"`{name}`",
                    f"{kind.severity}{', not acceptable' if kind.structural else ''}",
                    *(text[0].upper() + text[1:] for text in (kind.title, kind.why, kind.remedy)),
                    kind.source,
                )
                for name, kind in kinds
            ),
        )
        for area, kinds in areas.items()
    )


def metrics(_: dict[str, Any]) -> str:
    """Explain every metric."""
    return table(
        ("metric", "type", "labels", "meaning"),
        (
            (f"`{PREFIX}{name}`", metric.kind.value, ", ".join(metric.labels), metric.help)
            for name, metric in METRICS.items()
        ),
    )


def alerts(_: dict[str, Any]) -> str:
    """Explain every alert, with a heading that its runbook leads to."""
    return "\n".join(_alert(alert) for alert in ALERTS)


def _alert(alert: Alert) -> str:
    severity = alert.severity or "`severity` of the pool"
    held = f", when it has held for {alert.minutes} min" if alert.minutes else ""
    return (
        f"## {alert.name}\n\n{alert.meaning}\n\n"
        f"*{severity}*{held}. Threshold: {alert.threshold}.\n\n"
        f"```sh\n{alert.command}\n```\n"
    )


BLOCKS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "pools": pools,
    "queues": queues,
    "users": rights.users,
    "passwords": rights.passwords,
    "plan": example,
    "single": single,
    "findings": findings,
    "metrics": metrics,
    "alerts": alerts,
    "site_variables": reference.site_variables,
    "role_variables": reference.role_variables,
    "options": reference.options,
    "settings": celery_settings.settings,
    **{f"options_{verb}": partial(reference.verb_options, verb=verb) for verb in verbs.verbs()},
    **{name: partial(reference.model_fields, variable=name) for name in SPECS},
    **{f"override_{name}": partial(overrides.example, name) for name in overrides.examples()},
    **{f"site_{name}": partial(sites.site, name) for name in sites.sites()},
    "weblate_settings": sites.weblate_settings,
}
PICTURES: Final = {"docs/fleet.svg": svg, "docs/fleet.mmd": mermaid}


def main(arguments: Sequence[str]) -> int:
    """Rewrite the pages, or print which are out of date.

    Returns:
        0; 1 if `--check` finds a page that differs from the model.
    """
    raw = model()
    generated = {name: _page((ROOT / name).read_text(), raw) for name in PAGES}
    generated |= {name: draw(lab(raw)) for name, draw in PICTURES.items()}
    generated["docs/reference/schema.json"] = schema.text(raw)
    generated |= {
        f"docs/grafana/{name}": f"{json.dumps(board, indent=1)}\n" for name, board in dashboards().items()
    }
    generated["docs/grafana/celery-fleet.yml"] = provisioning()
    generated |= {f"roles/{role}/README.md": reference.readme(role) for role in reference.roles()}
    stale = [name for name, text in generated.items() if _read(ROOT / name) != text]
    for name in stale if "--check" not in arguments else ():
        (ROOT / name).write_text(generated[name])
    if stale and "--check" in arguments:
        print(f"Out of date with group_vars: {', '.join(stale)}; run scripts/docs.", file=sys.stderr)
        return 1
    return 0


def _page(text: str, raw: dict[str, Any]) -> str:
    return BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]](raw) + match[3], text)


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
