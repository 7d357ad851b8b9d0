"""Files that start workers: units of systemd, defaults of `celery multi`, supervisor's and compose files."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

# Bytes; a file that starts workers has a thousandth of it.
LARGEST: Final = 1 << 20
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+)?(\w+)=(.*)")


class UnitError(Exception):
    """A file cannot be read as one that starts workers; the message names it."""


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        name: Of the unit, program or service.
        argv: The program and its arguments.
    """

    name: str
    argv: tuple[str, ...]


def read_file(path: Path) -> list[Command]:
    """Read the command lines of a file.

    Args:
        path: The file, whose kind is seen by its content.

    Returns:
        All of its command lines, of whatever they start.

    Raises:
        UnitError: It is no such file.
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise UnitError(f"{path}: no file, or one of more than {LARGEST} bytes")
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UnitError(f"{path}: cannot be read: {type(error).__name__}") from error
    try:
        return read_text(text, path.stem)
    except (ValueError, RecursionError, yaml.YAMLError, configparser.Error) as error:
        raise UnitError(f"{path}: {' '.join(str(error).split())[:200]}") from error


def read_text(text: str, name: str) -> list[Command]:
    """Read the command lines of a text.

    Args:
        text: Of the file.
        name: What a unit is called that names itself nowhere.

    Returns:
        Its command lines.

    Raises:
        ValueError: It is no such text.
    """
    if "\0" in text:
        raise ValueError("holds a zero byte")
    if re.search(r"(?m)^\s*\[Service\]", text):
        return list(_unit(text, name))
    if re.search(r"(?m)^\s*\[program:", text):
        return list(_supervisor(text))
    if re.search(r"(?m)^\s*(export\s+)?CELERYD_\w+=", text):
        return list(_multi(text))
    if re.search(r"(?m)^services:", text):
        return list(_compose(text))
    raise ValueError(
        "is no unit of systemd, no defaults of celery multi, no supervisor's and no compose file"
    )


def _unit(text: str, name: str) -> Iterator[Command]:
    variables: dict[str, str] = {}
    commands = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        key, _, value = line.strip().partition("=")
        if key == "Environment":
            variables |= dict(word.split("=", 1) for word in shlex.split(value) if "=" in word)
        elif key == "ExecStart" and value:
            # Signs before the program are systemd's.
            commands.append(value.lstrip("@-:+!"))
    for command in commands:
        yield Command(name, tuple(_words(command, variables)))


def _supervisor(text: str) -> Iterator[Command]:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    parser.read_string(text)
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind == "program" and parser.has_option(section, "command"):
            yield Command(name, tuple(_words(parser.get(section, "command"), {})))


def _multi(text: str) -> Iterator[Command]:
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if found := _ASSIGNMENT.fullmatch(line):
            variables[found[1]] = " ".join(shlex.split(found[2], comments=True))
    nodes, options = variables.get("CELERYD_NODES", "celery"), variables.get("CELERYD_OPTS", "")
    yield Command("celery", tuple(_words(f"celery multi start {nodes} {options}", variables)))


def _compose(text: str) -> Iterator[Command]:
    content = yaml.safe_load(text)
    services = content.get("services") if isinstance(content, dict) else None
    if not isinstance(services, dict):
        raise ValueError("its services are no mapping")
    for name, service in services.items():
        parts: list[str] = []
        for key in ("entrypoint", "command"):
            value = service.get(key) if isinstance(service, dict) else None
            if isinstance(value, str):
                parts += _words(value, {})
            elif isinstance(value, list):
                parts += [part for part in value if isinstance(part, str)]
        if parts:
            yield Command(str(name), tuple(_shell(parts, {})))


def _words(line: str, variables: dict[str, str]) -> list[str]:
    """Split a command line, with the variables that the file itself sets."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1] or found[2], "")

    return _shell(shlex.split(_VARIABLE.sub(value, line)), variables)


def _shell(words: list[str], variables: dict[str, str]) -> list[str]:
    """Return what a shell is given to run, if the command is one."""
    if len(words) > 2 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1].startswith("-"):
        return shlex.split(words[2])
    return words
