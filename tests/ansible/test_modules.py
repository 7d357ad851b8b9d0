"""Every module of the kit can be imported, which its own tests in containers would tell an hour later."""

from __future__ import annotations

import importlib

import pytest
from support.fleet_model import ROOT

MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_finds_what_it_imports(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.celery_fleet.kit.plugins.modules.{name}")
    # A module that only documents an action has nothing to run.
    assert hasattr(module, "main") or (ROOT / f"plugins/action/{name}.py").exists()
