"""Action that shows the output of a command of the application while it runs."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import harmless

# The most characters of output in the result; all of it has been shown.
KEPT = 20_000


class ActionModule(ActionBase):
    """Runs the module until the command has ended; it goes on where it is if this ends before."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Each look would be a line in the host's journal.
        quiet = {**(task_vars or {}), "ansible_no_target_syslog": True}
        name = quiet.get("inventory_hostname", "")
        arguments, output, waits_for = dict(self._task.args), "", ""
        while True:
            last: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=quiet)
            output = (output + last.get("stdout", ""))[-KEPT:]
            for line in last.get("stdout", "").splitlines():
                Display().display(harmless(f"[{name}] {line}"))
            if last.get("waits_for", waits_for) != waits_for:
                waits_for = last["waits_for"]
                Display().display(harmless(f"[{name}] waits for what another run has started: {waits_for}"))
            if not last.get("running"):
                break
            if "unit" in last:
                arguments |= {"unit": last["unit"], "offset": last["offset"]}
        # Its lines are made anew of its text.
        last.pop("stdout_lines", None)
        return result | last | {"stdout": output}
