"""What a rollover shows while its module runs, with the module played by a test."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.celery_fleet.kit.plugins.action import worker_instances
from ansible_collections.celery_fleet.kit.plugins.action.worker_instances import ActionModule

INSTANCE = {
    "unit": "celery-fleet-cpu@r2_0a1b2c3d_2.service",
    "release": "r2",
    "state": "starting",
    "obstacle": "",
    "active": None,
}


# Ansible has no types, so its classes are of any.
class Action(ActionModule):  # type: ignore[misc]
    """The action with hosts that the test has."""

    def __init__(self, check_mode: bool = False) -> None:
        self._task = SimpleNamespace(check_mode=check_mode, async_val=0, args={}, _ds={})
        self._connection = SimpleNamespace(_shell=SimpleNamespace(), become=None)
        self.looked = threading.Event()
        self.calls: list[str] = []

    def _execute_module(self, module_name: str = "", *_: Any, **__: Any) -> dict[str, Any]:
        self.calls.append(module_name)
        if module_name:
            self.looked.set()
            return {"instances": [INSTANCE]}
        if not self._task.check_mode:
            assert self.looked.wait(10), "nobody looks while the module runs"
        return {"changed": True}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown."""
    shown: list[str] = []
    monkeypatch.setattr(worker_instances, "REPORT", 0.01)
    monkeypatch.setattr(worker_instances.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(worker_instances, "Display", lambda: SimpleNamespace(display=shown.append))
    return shown


def test_a_long_rollover_says_which_instance_it_waits_for(lines: list[str]) -> None:
    action = Action()
    assert action.run(task_vars={"inventory_hostname": "cpu1"}) == {"changed": True}
    assert lines[0] == f"[cpu1] {INSTANCE['unit']} (release r2): starting"


def test_a_comparison_is_not_watched(lines: list[str]) -> None:
    action = Action(check_mode=True)
    assert action.run(task_vars={}) == {"changed": True}
    assert action.calls == [""]
    assert lines == []
