"""Locks of uv, Poetry and Pipenv, written as requirements by these tools themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .pylock import parse_pylock
from .requirement import normalized, without_credentials
from .requirements_file import Read, UnreadableError, absent, read_requirements

_LAST_LINES: Final = 6
# They are asked for what the lock says: nothing is built, downloaded or looked for in an environment.
_ENVIRONMENT: Final = {
    "NO_COLOR": "1",
    "PIPENV_DONT_LOAD_ENV": "1",
    "PIPENV_IGNORE_VIRTUALENVS": "1",
    "PIPENV_NOSPIN": "1",
    "PIPENV_QUIET": "1",
    "POETRY_NO_INTERACTION": "1",
    "POETRY_VIRTUALENVS_CREATE": "false",
    "UV_NO_PROGRESS": "1",
    "UV_OFFLINE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}


@dataclass(frozen=True)
class Format:
    """A kind of lock.

    Attributes:
        tool: The program that reads it.
        beside: File that must lie beside it.
        read: Reads it in its directory.
        is_current: Whether the lock still fits the file beside it; none if the tool refuses it then.
        update: The command that makes it anew.
    """

    tool: str
    beside: str
    read: Callable[[Path, Sequence[str], Sequence[str]], Read]
    is_current: Callable[[Path], bool] | None
    update: str


def _run(directory: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in a directory.

    Raises:
        UnreadableError: The controller does not have it.
    """
    beside = Path(sys.executable).parent / tool
    program = str(beside) if beside.is_file() else shutil.which(tool)
    if program is None:
        raise UnreadableError(absent(tool))
    environment = {
        key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    return subprocess.run(  # noqa: S603 - an argument list, no shell
        [program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment | _ENVIRONMENT,
    )


def _printed(directory: Path, tool: str, *arguments: str) -> str:
    """Return what a tool prints.

    Raises:
        UnreadableError: It failed; with the end of what it said.
    """
    process = _run(directory, tool, *arguments)
    if process.returncode != 0:
        said = (process.stderr.strip() or process.stdout.strip()).splitlines()[-_LAST_LINES:]
        raise UnreadableError(f"{tool} says: {without_credentials(' '.join(line.strip() for line in said))}")
    return process.stdout


def _uv(directory: Path, groups: Sequence[str], extras: Sequence[str]) -> Read:
    chosen = [*(f"--group={name}" for name in groups), *(f"--extra={name}" for name in extras)]
    options = ["--frozen", "--quiet", "--no-emit-project", "--no-default-groups", "--format=pylock.toml"]
    printed = _printed(directory, "uv", "export", *options, *chosen)
    return parse_pylock(printed.encode(), directory / "uv.lock")


def _uv_is_current(directory: Path) -> bool:
    # Only a lock that does not fit sends uv to the index, and it is told that there is no network.
    process = _run(directory, "uv", "lock", "--check", "--no-build")
    return not any(said in process.stderr for said in ("needs to be updated", "network"))


def _poetry(directory: Path, groups: Sequence[str], extras: Sequence[str]) -> Read:
    chosen = [*(f"--with={name}" for name in groups), *(f"--extras={name}" for name in extras)]
    with tempfile.TemporaryDirectory(prefix="celery-fleet-lock-") as place:
        written = Path(place) / "poetry.lock"
        _printed(directory, "poetry", "export", f"--output={written}", *chosen)
        read = read_requirements(written, directory, "poetry.lock")
    locked = tomllib.loads((directory / "poetry.lock").read_text(encoding="utf-8"))
    return _with_wheels(read, {p["name"]: [f["file"] for f in p.get("files", ())] for p in locked["package"]})


def _with_wheels(read: Read, files: Mapping[str, Sequence[str]]) -> Read:
    """Say of each requirement which wheels of it exist."""
    known = {
        normalized(name): tuple(file for file in names if file.endswith(".whl"))
        for name, names in files.items()
    }
    found = (
        replace(requirement, wheels=known.get(requirement.name)) if requirement.version else requirement
        for requirement in read.requirements
    )
    return replace(read, requirements=tuple(found))


def _pipenv(directory: Path, groups: Sequence[str], extras: Sequence[str]) -> Read:
    if extras:
        raise UnreadableError("Pipfile.lock has no extras: name categories in fleet_app.groups")
    printed = _printed(
        directory, "pipenv", "requirements", "--hash", f"--categories={' '.join(['packages', *groups])}"
    )
    with tempfile.TemporaryDirectory(prefix="celery-fleet-lock-") as place:
        written = Path(place) / "Pipfile.lock"
        written.write_text(printed, encoding="utf-8")
        return read_requirements(written, directory, "Pipfile.lock")


def _pipenv_is_current(directory: Path) -> bool:
    return _run(directory, "pipenv", "verify").returncode == 0


FORMATS: Final[Mapping[str, Format]] = {
    "uv.lock": Format("uv", "pyproject.toml", _uv, _uv_is_current, "uv lock"),
    "poetry.lock": Format("poetry", "pyproject.toml", _poetry, None, "poetry lock"),
    "Pipfile.lock": Format("pipenv", "Pipfile", _pipenv, _pipenv_is_current, "pipenv lock"),
}
