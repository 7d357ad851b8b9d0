"""Action that shows what a rollover waits for while its module runs."""

from __future__ import annotations

import contextvars
import copy
import threading
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.status.screen import rollover_lines
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import harmless

# Seconds between two reports. A rollover that takes less shows none, and costs no request.
REPORT = 10.0


class ActionModule(ActionBase):
    """Runs the module, and meanwhile reads the state of the host's instances from time to time."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        ended = threading.Event()
        if self._task.check_mode:
            ended.set()
        # Ansible keeps what belongs to the task in context variables, which a thread does not inherit.
        context = contextvars.copy_context()
        watch = threading.Thread(target=context.run, args=(self._watch, ended, task_vars or {}))
        watch.start()
        try:
            outcome: dict[str, Any] = self._execute_module(task_vars=task_vars)
            return result | outcome
        finally:
            ended.set()
            watch.join()

    def _watch(self, ended: threading.Event, task_vars: dict[str, Any]) -> None:
        """Show the instances that start or stop, until the module has ended."""
        # With a connection of its own, because the module holds the other one.
        reader = copy.copy(self)
        reader._connection = copy.copy(self._connection)
        reader._connection._shell = copy.copy(self._connection._shell)
        reader._connection.become = copy.copy(self._connection.become)
        name = task_vars.get("inventory_hostname", "")
        while not ended.wait(REPORT):
            try:
                status = reader._execute_module("celery_fleet.kit.worker_status", {}, task_vars=task_vars)
            except AnsibleError:  # of a lost connection, of which the module itself tells
                return
            for line in rollover_lines(status.get("instances", ())):
                Display().display(harmless(f"[{name}] {line}"))
