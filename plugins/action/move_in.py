"""Action that moves tasks in from another broker and shows how far it is."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import harmless

# Seconds between two attempts while the fleet's queues have no room.
PAUSE = 2.0


class ActionModule(ActionBase):
    """Runs the module until all is moved; the next run goes on where one was interrupted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Each portion would be a line in the host's journal.
        quiet = {**(task_vars or {}), "ansible_no_target_syslog": True}
        moved: Counter[str] = Counter()
        first: dict[str, Any] = {}
        begun = time.monotonic()
        patience = float(self._task.args.get("patience") or "inf")
        while True:
            last: dict[str, Any] = self._execute_module(task_vars=quiet)
            first = first or last
            if last.get("failed"):
                return result | last
            moved.update(last["moved"])
            if last["done"] or self._task.check_mode:
                break
            left, spent = sum(last["after"].values()), max(time.monotonic() - begun, 0.1)
            if spent > patience:
                break
            text = f"{moved.total()} tasks moved ({moved.total() / spent:.0f}/s), {left} at the old broker"
            if last["waits"]:
                text += "; waiting for room in the fleet's queues"
                time.sleep(PAUSE)
            Display().display(harmless(text))
        return result | last | {"before": first["before"], "moved": dict(moved), "changed": bool(moved)}
