"""Action that drains pools on a host and shows what still runs while it waits."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import harmless

# Seconds between two looks, and between two reports while nothing changes.
LOOK = 2.0
REPORT = 5.0


class ActionModule(ActionBase):
    """Runs the module until no task is left; tasks that are left at its timeout are no failure."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        first: dict[str, Any] = self._execute_module(task_vars=task_vars)
        last, begun, reported = first, time.monotonic(), 0.0
        timeout = float(self._task.args.get("timeout") or 0)
        name = (task_vars or {}).get("inventory_hostname", "")
        while last.get("left") and not last.get("failed") and not self._task.check_mode:
            now = time.monotonic()
            if timeout and now - begun >= timeout:
                last["text"] = [f"after {timeout:g} s there still runs:", *last["text"]]
                break
            if now - reported >= REPORT:
                reported = now
                for line in last["text"]:
                    Display().display(harmless(f"[{name}] {line}"))
            time.sleep(LOOK)
            last = self._execute_module(task_vars=task_vars)
        return result | last | {key: first[key] for key in ("changed", "diff") if key in first}
