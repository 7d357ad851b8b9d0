"""The application's secrets on a host: their files, and what a process gets that systemd does not start.

A reader (a pool, the scheduler, …) has ``<reader>.env`` with its variables, as systemd reads them, and
``<reader>-<NAME>`` for each variable that is to hold the path of a file.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SUFFIX: Final = ".env"
# Between double quotes systemd wants a backslash before these, and takes everything else as it is.
_ESCAPED: Final = '"\\`$'
_VARIABLE: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"\n', re.DOTALL)
# Shorter texts stand for much that is no secret.
_SHORTEST: Final = 5


def write_variables(variables: Mapping[str, object]) -> str:
    """Write variables as systemd reads them: any text, of several lines too.

    Args:
        variables: Values by their names.
    """
    escaped = {ord(character): f"\\{character}" for character in _ESCAPED}
    return "".join(f'{name}="{str(value).translate(escaped)}"\n' for name, value in sorted(variables.items()))


def read_variables(text: str) -> dict[str, str]:
    """Read what ``write_variables`` wrote.

    Args:
        text: The content of the file.
    """
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in _VARIABLE.findall(text)}


@contextmanager
def all_secrets(directory: Path | None, uid: int, gid: int) -> Iterator[dict[str, str]]:
    """Yield the variables of all readers on a host, for a process that may be any of them.

    Args:
        directory: Where the secrets are; there need not be any.
        uid: User of the process, who alone may read copies of the files while this lasts.
        gid: That user's group.
    """
    with tempfile.TemporaryDirectory() as place:
        variables: dict[str, str] = {}
        for path in sorted(directory.iterdir()) if directory and directory.is_dir() else ():
            if path.suffix == SUFFIX:
                variables |= read_variables(path.read_bytes().decode())
                continue
            name = path.name.partition("-")[2]
            copy = Path(place) / name
            if name not in variables:
                copy.touch(mode=0o400)
                copy.write_bytes(path.read_bytes())
                os.chown(copy, uid, gid)
            variables[name] = str(copy)
        # Not before, since that user could put a link where root writes.
        os.chown(place, uid, gid)
        yield variables


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets that a program may have printed.

    Args:
        text: What it printed.
        secrets: What must not be shown; of several lines, none of them is.
    """
    lines = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
    for line in sorted(lines, key=len, reverse=True):
        if len(line) >= _SHORTEST:
            text = text.replace(line, "(a secret)")
    return text
