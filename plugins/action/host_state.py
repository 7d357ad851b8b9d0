"""Action that renders a role's templates on the controller and hands all items to the host at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MANAGED = "Ansible managed"


class ActionModule(ActionBase):
    """Gives every item its content, then runs the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do what the task asks for."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        arguments = dict(self._task.args)
        arguments["items"] = [self._with_content(item, known) for item in arguments.get("items") or []]
        # The host's journal would hold every file at every run.
        quiet = {**known, "ansible_no_target_syslog": True}
        done: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=quiet)
        return result | done

    def _with_content(self, item: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Return an item without the keys that only the controller reads."""
        if not isinstance(item, dict):
            raise AnsibleActionFail(f"host_state: an item is a mapping, not {item!r}")
        given = {key: value for key, value in item.items() if key not in ("template", "source")}
        if item.get("template"):
            given["content"] = self._render(item["template"], known)
        elif item.get("source"):
            path = self._find_needle("files", item["source"])
            given["content"] = Path(self._loader.get_real_file(path)).read_text(encoding="utf-8")
        return given

    def _render(self, name: str, known: dict[str, Any]) -> str:
        path = self._find_needle("templates", name)
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(path).parent)], available_variables={"ansible_managed": MANAGED, **known}
        )
        text = trust_as_template(Path(path).read_text(encoding="utf-8"))
        return str(templar.template(text, escape_backslashes=False))
