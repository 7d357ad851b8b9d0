"""An action whose module a test plays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class PlayedModule:
    """Goes before the action's own class.

    Args:
        arguments: The task's arguments.
        answers: What the module returns, one after the other.

    Attributes:
        asked: The arguments of each call of the module.
    """

    def __init__(self, arguments: dict[str, Any], *answers: dict[str, Any]) -> None:
        self._task = SimpleNamespace(args=arguments)
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def _execute_module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert task_vars["ansible_no_target_syslog"]
        self.asked.append(dict(module_args))
        return self.answers.pop(0)
