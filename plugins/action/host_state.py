"""Action that renders a role's templates on the controller and hands all items to the host at once."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MANAGED = "Ansible managed"


class ActionModule(ActionBase):
    """Adds the content to every item, then runs the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        secrets = dict(arguments.get("secrets") or {})
        arguments["items"] = [
            self._with_content(item, variables, secrets) for item in arguments.get("items") or []
        ]
        arguments["secrets"] = secrets
        # The host's journal would hold every file at every run.
        quiet = {**variables, "ansible_no_target_syslog": True}
        applied: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=quiet)
        return result | applied

    def _with_content(
        self, item: dict[str, Any], variables: dict[str, Any], secrets: dict[str, str]
    ) -> dict[str, Any]:
        """Return an item as the host takes it; what is secret in it goes to `secrets`."""
        if not isinstance(item, dict):
            raise AnsibleActionFail(f"host_state: an item is a mapping, not {item!r}")
        complete = {key: value for key, value in item.items() if key not in ("template", "vars", "source")}
        if item.get("template"):
            complete["content"] = self._render(item["template"], variables | item.get("vars", {}))
        elif item.get("source"):
            path = self._find_needle("files", item["source"])
            content = Path(self._loader.get_real_file(path)).read_bytes()
            complete |= _encoded(content, secret="secret" in item)
            if "secret" in item:
                secrets[item["secret"]] = complete.pop("content")
        return complete

    def _render(self, name: str, variables: dict[str, Any]) -> str:
        path = self._find_needle("templates", name)
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(path).parent)], available_variables={"ansible_managed": MANAGED, **variables}
        )
        text = trust_as_template(Path(path).read_text(encoding="utf-8"))
        return str(templar.template(text, escape_backslashes=False))


def _encoded(content: bytes, *, secret: bool) -> dict[str, str]:
    """Return the content of a file; as text, which a difference shows, if it is text and no secret."""
    try:
        if not secret:
            return {"content": content.decode()}
    except UnicodeDecodeError:
        pass
    return {"content": base64.b64encode(content).decode(), "encoding": "base64"}
