"""Units and slices of roles, rendered as Ansible does and read as systemd does."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from fleet.host.names import installation

import support.collection  # noqa: F401 - templates use the kit's filters
from support.fleet_model import ROOT


def pool(**changes: Any) -> dict[str, Any]:
    """Return the plan of a pool, as the filter host_plan does, with changes."""
    return {
        "name": "cpu",
        "kind": "cpu",
        "node": "cpu_worker@cpu1",
        "slice": "celery-fleet-cpu.slice",
        "user": "celery-fleet-cpu",
        "unit": "celery-fleet-cpu@.service",
        "queues": {"cpu_video": {"routing_key": "cpu.video"}, "cpu_ml": {"routing_key": "cpu.ml"}},
        "execution": "prefork",
        "concurrency": 12,
        "autoscale": {"enabled": False, "min": 2, "max": 8},
        "prefetch_multiplier": 1,
        "max_tasks_per_child": 100,
        "time_limit": 3600,
        "soft_time_limit": 3000,
        "stop_timeout": 3660,
        "memory_max_mib": 28892,
        "cpu_weight": 100,
        "tasks_max": 512,
        "environment": {},
        "command_prefix": [],
        "events": False,
        "worker_arguments": [],
        "rollover": "overlap",
    } | changes


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Read a unit file: sections, their keys, and each key's values in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), defaultdict(list))
        elif line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            assert separator, f"neither a section, a key nor a comment: {line!r}"
            section[key].append(" ".join(value.split()))
    return sections


def render(template: str, plan: dict[str, Any] | None = None, *, role: str = "worker", **changes: Any) -> str:
    """Render a template of a role; one of the worker role for a pool of a plan."""
    place = ROOT / "roles" / role
    own = yaml.safe_load((place / "vars" / "main.yml").read_text())
    variables: dict[str, Any] = {
        **yaml.safe_load((place / "defaults" / "main.yml").read_text()),
        **{name: trust_as_template(value) for name, value in own.items() if isinstance(value, str)},
        "ansible_managed": "Managed",
        "__worker_pool": plan,
        "__worker_node": "cpu_worker_@n@@cpu1",
        "worker_release": "shop-1",
        "worker_installation": installation("shop"),
        "worker_app": {
            "name": "shop",
            "celery_app": "shop.app:app",
            "environment": {},
            "secrets": {},
            "working_directory": "",
            "writable": [],
        },
    } | changes
    text = trust_as_template((place / "templates" / template).read_text())
    templar = Templar(loader=DataLoader(), variables=variables)
    # Where it finds what it includes.
    return str(templar.copy_with_new_env(searchpath=[str(place / "templates")]).template(text))
