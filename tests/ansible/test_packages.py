"""When roles refresh the lists of packages before they install one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[2] / "roles"


def refreshes() -> Iterator[Any]:
    """Find the tasks that refresh the lists of a host of which the role knows what they lack."""
    for path in sorted(ROLES.glob("*/tasks/*.yml")):
        # A broker's host is looked at otherwise (roles/broker/tasks/install.yml).
        if path.parts[-3] != "broker":
            for task in yaml.safe_load(path.read_text()):
                if "cache_valid_time" in task.get("ansible.builtin.apt", {}):
                    yield pytest.param(path.parts[-3], task, id=f"{path.parts[-3]}/{path.name}")


@pytest.mark.parametrize(("role", "task"), list(refreshes()))
def test_lists_that_lack_a_package_are_refreshed_however_fresh_they_look(role: str, task: Any) -> None:
    def valid_time(*unknown: str) -> int:
        looked = {"unknown_packages": list(unknown), "missing_packages": ["nginx"]}
        templar = Templar(DataLoader(), variables={f"__{role}_host": looked})
        return int(templar.template(trust_as_template(task["ansible.builtin.apt"]["cache_valid_time"])))

    assert valid_time("nginx") == 0
    assert valid_time() > 0
