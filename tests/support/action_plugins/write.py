"""An action of the tests: it writes a file of the controller, where `copy` starts Python twice for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Takes `path` and `content`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file, in check mode too."""
        Path(self._task.args["path"]).write_text(self._task.args["content"])
        return {"changed": False}
