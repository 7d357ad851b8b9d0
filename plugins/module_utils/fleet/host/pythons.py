"""The interpreter of the application on a host: where it is, what it is, and who may run it."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .disk import flush

# Where a service's commands are found, whoever runs the kit.
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where people put Pythons that the distribution lacks; `{v}` is a version such as 3.12.
_PLACES: Final = (
    "/opt/python*{v}*/bin/python{v}",
    "/opt/python/{v}*/bin/python{v}",
    "/opt/pyenv/versions/{v}*/bin/python{v}",
    "/usr/local/pyenv/versions/{v}*/bin/python{v}",
    "/opt/uv/python/cpython-{v}*/bin/python{v}",
    "/usr/local/share/uv/python/cpython-{v}*/bin/python{v}",
    "~/.pyenv/versions/{v}*/bin/python{v}",
    "~/.local/share/uv/python/cpython-{v}*/bin/python{v}",
)
# Where those that the controller brings lie, below the application's directory.
PYTHONS: Final = "python"
# Whom every host has, and who may read no more than the service's user.
_NOBODY: Final = 65534
_ABOUT: Final = """
import json, platform, sys, sysconfig
print(json.dumps({
    "path": sys.executable,
    "version": platform.python_version(),
    "machine": platform.machine(),
    "glibc": platform.libc_ver()[1],
    "abi": str(sysconfig.get_config_var("SOABI")),
}))
"""
_TIMEOUT_S: Final = 30


class PythonError(Exception):
    """The host has no such interpreter, or the service cannot use it."""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter on a host.

    Attributes:
        path: Its program, with links resolved by the interpreter itself.
        version: Its version, such as ``3.12.4``.
        machine: Its architecture.
        glibc: Version of its C library.
        abi: What compiled modules are made for.
    """

    path: str
    version: str
    machine: str
    glibc: str
    abi: str

    @property
    def target(self) -> str:
        """The kind of host, as wheels are chosen for it."""
        return f"{self.version.rpartition('.')[0]} {self.machine} {self.glibc}"


def find(wanted: str) -> Interpreter:
    """Find the interpreter that a site names.

    Args:
        wanted: A command such as ``python3``, a path, or a version such as ``3.12``.

    Raises:
        PythonError: There is none, or the service may not run it.
    """
    reasons: list[str] = []
    for program in dict.fromkeys(_candidates(wanted)):
        try:
            found = about(program)
        except PythonError as error:
            reasons.append(str(error))
            continue
        if not re.fullmatch(r"[\d.]+", wanted) or f"{found.version}.".startswith(f"{wanted}."):
            return found
        reasons.append(f"{program} is {found.version}")
    raise PythonError("; ".join(reasons) or f"there is no {wanted}; it has {_others()}")


def _candidates(wanted: str) -> Iterator[str]:
    if "/" in wanted:
        yield wanted
        return
    version = wanted.removeprefix("python") if re.fullmatch(r"(python)?\d+(\.\d+)*", wanted) else ""
    minor = ".".join(version.split(".")[:2])
    for name in (wanted, f"python{minor}", "python3") if version == wanted else (wanted,):
        if program := shutil.which(name, path=PATH):
            yield program
    if "." in version:
        for place in _PLACES:
            found = glob.glob(os.path.expanduser(place.format(v=minor)))  # noqa: PTH111, PTH207 - a pattern
            yield from sorted(found, reverse=True)


def _others() -> str:
    """Name the interpreters of this host."""
    names = {
        entry.name
        for place in PATH.split(":")
        if Path(place).is_dir()
        for entry in Path(place).glob("python3*")
        if re.fullmatch(r"python3(\.\d+)?", entry.name)
    }
    return ", ".join(sorted(names)) or "no Python"


def about(program: str) -> Interpreter:
    """Ask an interpreter what it is, as a user who may read no more than the service.

    Args:
        program: Its path.

    Raises:
        PythonError: It is not there, cannot be run by that user, or is no Python.
    """
    if not Path(program).exists():
        raise PythonError(f"there is no {program}; it has {_others()}")
    user: dict[str, Any] = (
        {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    try:
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            [program, "-I", "-S", "-c", _ABOUT],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={"PATH": PATH},
            timeout=_TIMEOUT_S,
            **user,
        )
    except PermissionError as error:
        raise PythonError(f"users of the host may not run {program}{_closed(program)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PythonError(f"{program} does not run: {error}") from error
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["it prints nothing"])[-1]
        raise PythonError(f"{program} does not run for users of the host{_closed(program)}: {last}")
    try:
        found = Interpreter(**json.loads(process.stdout))
    except (ValueError, TypeError) as error:
        raise PythonError(f"{program} is no Python") from error
    if not re.fullmatch(r"2\.\d+", found.glibc):
        raise PythonError(f"{program} has another C library than glibc, for which wheels are made")
    return found


def _closed(program: str) -> str:
    """Name the directory that others may not enter, on the way to a program."""
    real = Path(program).resolve()
    for place in reversed(real.parents):
        if not place.stat().st_mode & 0o001:
            return f", which lies in {place} (others may not enter it)"
    return ""


def place_of(root: Path, sha256: str) -> Path:
    """Return where the Python of an archive lies.

    Args:
        root: Directory of the application.
        sha256: The archive's checksum.
    """
    return root / PYTHONS / sha256[:16]


def unpacked(archive: Path, sha256: str, place: Path) -> None:
    """Unpack an archive that holds a Python.

    Args:
        archive: A tar archive, removed after use.
        sha256: Its checksum.
        place: Where it goes; appears there at once, complete.

    Raises:
        PythonError: It is not the archive that the site names, or cannot be unpacked.
    """
    digest = hashlib.sha256()
    with archive.open("rb") as content:
        while chunk := content.read(2**20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise PythonError(f"the archive's checksum is {digest.hexdigest()}, and not {sha256}")
    draft = place.with_name(f".{place.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    command = ["tar", "-xf", str(archive), "-C", str(draft), "--no-same-owner", "--mode=go=rX,u+rwX"]
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if process.returncode != 0:
        raise PythonError(f"the archive cannot be unpacked: {process.stderr.strip()}")
    flush(draft)
    # Nothing is left to do when it is there, since then no run comes back here.
    archive.unlink()
    draft.replace(place)


def program_in(place: Path) -> Path:
    """Return the Python program below a directory.

    Raises:
        PythonError: There is none.
    """
    programs = [path for path in place.rglob("bin/python3*") if re.fullmatch(r"python3\.\d+", path.name)]
    if not programs:
        raise PythonError(f"{place} holds no bin/python3.x")
    return min(programs, key=lambda path: (len(path.parts), path))


def looked_for(wanted: str) -> Mapping[str, str]:
    """Return what is known of the interpreter that a site names, as a fact of the host."""
    try:
        found = find(wanted)
    except PythonError as error:
        return {"wanted": wanted, "fault": str(error)}
    return {"wanted": wanted, "target": found.target, **asdict(found)}
