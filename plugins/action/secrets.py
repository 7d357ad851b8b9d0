"""Action that changes the environment's secrets, on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.secret_file import (
    EXCHANGED,
    ID,
    NEXT,
    SHORTEST,
    Content,
    SecretsError,
    exchange,
    finish,
    make,
    prepare,
    short,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.vault_id import strangers
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.site_vault import secret_file


class ActionModule(ActionBase):
    """Changes the file of secrets; never shows one."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        {"file", "make", "hosts", "files", "accept_new", "prepare", "exchange", "finish", "values"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "file": {"type": "path", "required": True},
                "make": {"type": "dict", "no_log": True},
                "hosts": {"type": "dict", "default": {}},
                "files": {"type": "dict", "default": {}},
                "accept_new": {"type": "bool", "default": False},
                "prepare": {"type": "list", "elements": "str"},
                "exchange": {"type": "bool", "default": False},
                "finish": {"type": "bool", "default": False},
                "values": {"type": "dict", "default": {}, "no_log": True},
            }
        )
        file = secret_file(arguments["file"], self._loader)
        try:
            _refuse_two_files(arguments["files"])
            # Even the directory of the file is made only when something is kept.
            with nullcontext(file.read()) if self._task.check_mode else file.edit() as content:
                before = dict(content)
                after = dict(content)
                if arguments["make"] is not None:
                    if not arguments["accept_new"]:
                        _refuse_strangers(file.path, content, arguments["make"], arguments["hosts"])
                    self._judge_short(file.path, arguments["make"], arguments["hosts"])
                    after = make(after, [name for name, value in arguments["make"].items() if not value])
                if arguments["prepare"] is not None:
                    after = prepare(after, arguments["prepare"])
                if arguments["exchange"]:
                    after = exchange(after)
                if arguments["finish"]:
                    after = finish(after)
                after |= {name: value for name, value in arguments["values"].items() if value is not None}
                for name in [name for name, value in arguments["values"].items() if value is None]:
                    after.pop(name, None)
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

    def _judge_short(self, path: object, values: Mapping[str, str], hosts: Mapping[str, Any]) -> None:
        """Reject secrets of a site that are too short; where hosts have them already, only warn of them."""
        listed = short(values)
        if not listed:
            return
        text = f"Too short (characters; at least {SHORTEST}) in {path}: {listed}"
        if any((report or {}).get("mark") for report in hosts.values()):
            Display().warning(f"{text}. Replace them: rotate_passwords.yml makes longer ones.")
            return
        raise SecretsError(f"{text}. Nothing was changed. Remove them, and longer ones are made.")


def _refuse_two_files(files: Mapping[str, str]) -> None:
    """Reject hosts whose secrets would come from different files."""
    by_file: dict[str, list[str]] = {}
    for host, path in files.items():
        by_file.setdefault(path, []).append(host)
    if len(by_file) > 1:
        listed = "; ".join(f"{path} of {', '.join(hosts)}" for path, hosts in sorted(by_file.items()))
        raise SecretsError(
            f"The hosts of this run would have the secrets of several files: {listed}. "
            "Give one inventory only, or set fleet_vault_file for all of them."
        )


def _refuse_strangers(
    path: object, content: Content, in_force: Mapping[str, str], hosts: Mapping[str, Any]
) -> None:
    """Reject hosts that have other secrets than the file, before anything is changed."""
    upcoming = content.get(NEXT) or {}
    expected = {
        name: {value for value in (value, upcoming.get(name)) if value} for name, value in in_force.items()
    }
    reasons = strangers(content.get(ID), expected, hosts)
    if reasons:
        listed = "; ".join(f"{host} {why}" for host, why in reasons.items())
        fault = "does not fit these hosts" if content else "is missing, but these hosts have secrets"
        raise SecretsError(
            f"{path} {fault}: {listed}. Nothing was changed. Restore {path} from its newest backup "
            "(docs/concepts/secrets.md); or, to replace the secrets of all hosts knowingly, "
            "add -e fleet_new_secrets=true."
        )
