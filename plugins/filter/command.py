"""Filter that reads the command of `playbooks/run.yml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ansible import context
from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.commands import command_argv

OTHER_OPTION = re.compile(r"\srun_(on|pool|timeout)=")


def whole(command: object, extra_vars: Iterable[object]) -> object:
    """Return the command that `-e command=one two` means, of which Ansible takes the first word only.

    Args:
        command: The variable, as Ansible has read it.
        extra_vars: The values of all `-e`.

    Raises:
        ValueError: If another option follows in the same value.
    """
    given = [text for text in map(str, extra_vars) if text.startswith("command=")]
    text = given[-1].removeprefix("command=").strip() if given else ""
    if text[:1] in ("", "'", '"') or text.split()[0] != command:
        return command
    if OTHER_OPTION.search(text):
        raise ValueError(
            "After a command without quotes no other option can follow: give each option its own -e"
        )
    return text


def argv(command: object) -> list[str]:
    """Return the arguments of the command.

    Raises:
        AnsibleFilterError: It is no command, or one for a shell.
    """
    try:
        words: list[str] = command_argv(whole(command, context.CLIARGS.get("extra_vars") or ()))
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error
    return words


class FilterModule:
    """Filters of the verb that runs a command."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"command_argv": argv}
