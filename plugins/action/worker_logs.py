"""Action that shows what the fleet's units log while they do."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.journal import line


class ActionModule(ActionBase):
    """Runs the module once, or for entries behind a place again and again, until it fails."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Each look would be a line in the host's journal.
        quiet = {**(task_vars or {}), "ansible_no_target_syslog": True}
        arguments = dict(self._task.args)
        host = quiet.get("inventory_hostname", "")
        width = max(map(len, quiet.get("ansible_play_hosts_all", [host])))
        while True:
            last: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=quiet)
            if arguments.get("after") is None or last.get("failed"):
                return result | last
            for entry in last["entries"]:
                Display().display(line(host, entry, width))
            arguments["after"] = last["cursor"]
