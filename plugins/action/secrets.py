"""Action that changes the environment's secrets, on the controller."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.secret_file import (
    EXCHANGED,
    NEXT,
    SecretsError,
    exchange,
    finish,
    prepare,
)
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.site_vault import secret_file


class ActionModule(ActionBase):
    """Changes the file of secrets; never shows one."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"file", "prepare", "exchange", "finish", "values"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do what the task asks for."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "file": {"type": "path", "required": True},
                "prepare": {"type": "list", "elements": "str"},
                "exchange": {"type": "bool", "default": False},
                "finish": {"type": "bool", "default": False},
                "values": {"type": "dict", "default": {}, "no_log": True},
            }
        )
        file = secret_file(arguments["file"], self._loader)
        try:
            with file.edit() as content:
                before = dict(content)
                after = dict(content)
                if arguments["prepare"] is not None:
                    after = prepare(after, arguments["prepare"])
                if arguments["exchange"]:
                    after = exchange(after)
                if arguments["finish"]:
                    after = finish(after)
                after |= {name: value for name, value in arguments["values"].items() if value is not None}
                for name in [name for name, value in arguments["values"].items() if value is None]:
                    after.pop(name, None)
                if not self._task.check_mode:
                    content.clear()
                    content.update(after)
        except (SecretsError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return result | {
            "changed": bool(changed),
            "changed_names": changed,
            "upcoming": sorted(after.get(NEXT) or {}),
            "exchanged": list(after.get(EXCHANGED) or []),
        }
