"""Commands that a site writes for its application: hooks of a release, and those that an operator runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..findings import Findings, show
from .plain import plain
from .spec import is_number

# When each list of hooks runs; every field of `fleet_app` with such a list.
HOOKS: Final = ("prepare", "before_release", "after_release")
# Seconds that a command may take unless the site says otherwise: a migration of a large table takes long, one
# that waits for a lock that nobody gives back never ends.
TIMEOUT_S: Final = 3600

_LITERAL: Final = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""")
_SHELL: Final = re.compile(r"[|&;<>`]|\$[A-Za-z_({]|^\s*[A-Za-z_][A-Za-z0-9_]*=")
_BUILT_IN: Final = frozenset([".", "alias", "cd", "export", "exec", "set", "source", "ulimit", "umask"])


def is_command(value: object) -> bool:
    """Return whether a value may be a command: a line, or a list of arguments, without control characters."""
    if isinstance(value, list):
        return bool(value) and all(is_number(item) or _is_text(item) for item in value) and value[0] != ""
    return _is_text(value) and str(value).strip() != ""


def _is_text(value: object) -> bool:
    # Of the arguments of a list, one may have several lines.
    return isinstance(value, str) and not re.search(r"[\x00-\x08\x0b-\x1f]", value)


def argv(command: str | Iterable[object]) -> list[str]:
    """Return the arguments of a command.

    Args:
        command: A line, which is split as a shell would and not run by one; or its arguments.

    Raises:
        ValueError: If the line has a quote without its end, or no word.
    """
    words = shlex.split(command) if isinstance(command, str) else [str(item) for item in command]
    if not words:
        raise ValueError("No command")
    return words


def command_argv(command: object) -> list[str]:
    """Return the arguments of a command that an operator gives.

    Args:
        command: A line, or a list of arguments.

    Raises:
        ValueError: If it is no command, or only a shell would understand it.
    """
    given = plain(command)
    if not is_command(given):
        raise ValueError(f"{show(given)} is no command: give a line, or a list of arguments")
    try:
        words = argv(given)
    except ValueError as error:
        raise ValueError(f"{show(given)} can't be split into arguments: {error}") from error
    if sign := shell_sign(given):
        remedy = "quote the sign if it is meant as it is, or run a shell, sh -c '...'"
        raise ValueError(f"No shell runs {show(given)} for its '{sign}': {remedy}")
    return words


def shell_sign(command: str | Iterable[object]) -> str:
    """Return what in a line only a shell would understand; empty if nothing, or if it is a list of arguments.

    Args:
        command: A line or arguments.
    """
    if not isinstance(command, str):
        return ""
    literal = _LITERAL.sub("_", command)
    if sign := _SHELL.search(literal):
        return sign.group().strip()
    first = literal.split()[:1]
    return first[0] if first and first[0] in _BUILT_IN else ""


def check_hooks(app: Mapping[str, Any], findings: Findings) -> None:
    """Find commands of hooks that could not run as they are written.

    Args:
        app: The legal fields of `fleet_app`.
        findings: Receives what is wrong.
    """
    for kind in HOOKS:
        names: dict[str, int] = {}
        commands: dict[tuple[str, ...], int] = {}
        for at, hook in enumerate(app.get(kind, [])):
            here, command = f"fleet_app.{kind}.{at}", hook.get("command")
            if (name := hook.get("name")) is not None and names.setdefault(name, at) != at:
                findings.add("app/duplicate-hook", f"{here}.name", name, f"entry {names[name]} has this name")
            if command is None:
                continue
            try:
                words = tuple(argv(command))
            except ValueError as error:
                findings.add("app/bad-command", f"{here}.command", command, f"it has no end: {error}")
                continue
            if sign := shell_sign(command):
                findings.add(
                    "app/shell-command", f"{here}.command", command, f"no shell runs it for its '{sign}'"
                )
            if commands.setdefault(words, at) != at:
                reason = f"entry {commands[words]} has this command, and would count as both"
                findings.add("app/duplicate-hook", f"{here}.command", command, reason)
