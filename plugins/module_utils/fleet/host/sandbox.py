"""Wheels that a host builds: by a user that does nothing else, without a network."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .names import BUILDER

# What a release says of the sources that a host builds, and where they and what builds them lie in it.
MANIFEST: Final = "sdists.json"
BUILDERS: Final = "builders"
SOURCES: Final = "sdists"
TIMEOUT_S: Final = 1800
# The only directory that a build may write, of its user, and removed after it.
PLACE: Final = Path("/var/cache/celery-fleet-build")
_LAST_LINES: Final = 25
# What a container may not do for its services (namespaces) systemd leaves out there. A dynamic user would
# insist on them.
_PROPERTIES: Final = {
    "User": BUILDER,
    "CacheDirectory": PLACE.name,
    "CacheDirectoryMode": "0700",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "PrivateNetwork": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateIPC": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "read-only",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectProc": "invisible",
    "RestrictSUIDSGID": "yes",
    "RestrictNamespaces": "yes",
    "RestrictAddressFamilies": "AF_UNIX",
    "LockPersonality": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictRealtime": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
    "KeyringMode": "private",
    "UMask": "0022",
    "WorkingDirectory": "/",
    "RuntimeMaxSec": str(TIMEOUT_S),
}


class NotBuiltError(Exception):
    """A wheel cannot be built; the message is the end of what the build printed."""


def command(source: Path, release: Path, uv: Path, python: str, version: str) -> list[str]:
    """Return the command that builds a source and writes an archive of its wheels to its output.

    Args:
        source: The source: a directory, or an archive.
        release: The release, which holds what builds it.
        uv: The program uv.
        python: The interpreter.
        version: The version of projects that take it from git.
    """
    copy, wheels, temporary = PLACE / "source" / source.name, PLACE / "wheels", PLACE / "tmp"
    environment = {
        "HOME": str(PLACE),
        "LANG": "C.UTF-8",
        "PDM_BUILD_SCM_VERSION": version,
        "SETUPTOOLS_SCM_PRETEND_VERSION": version,
        "SOURCE_DATE_EPOCH": "315532800",
        "TMPDIR": str(temporary),
        "UV_CACHE_DIR": str(PLACE / "cache"),
        "UV_FIND_LINKS": str(release / BUILDERS),
        "UV_NO_INDEX": "1",
        "UV_NO_PROGRESS": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    options = ["--wheel", "--python", python, "--out-dir", str(wheels)]
    steps = (
        # Builds write beside their source.
        ["mkdir", str(copy.parent), str(temporary)],
        ["cp", "-r", str(source), str(copy)],
        [str(uv), "build", *options, str(copy)],
        ["tar", "-C", str(wheels), "--exclude=.gitignore", "-cf", f"{wheels}.tar", "."],
    )
    script = f"exec 3>&1 >&2 && {' && '.join(map(shlex.join, steps))} && cat {wheels}.tar >&3"
    return [
        "systemd-run",
        *("--quiet", "--pipe", "--wait", "--collect"),
        *(f"--property={key}={value}" for key, value in _PROPERTIES.items()),
        "--property=SystemCallFilter=~@privileged",
        *(f"--setenv={key}={value}" for key, value in environment.items()),
        *("/bin/sh", "-c", script),
    ]


def build(release: Path, uv: Path, python: str, target: Path) -> list[str]:
    """Build the sources of a release.

    Args:
        release: The release.
        uv: The program uv.
        python: The interpreter.
        target: Where the wheels go.

    Returns:
        The requirements that install them, one line each.

    Raises:
        NotBuiltError: One cannot be built.
    """
    manifest = release / MANIFEST
    return [
        _built(entry, release, uv, python, target)
        for entry in (json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else ())
    ]


def _built(entry: Mapping[str, str], release: Path, uv: Path, python: str, target: Path) -> str:
    name = entry["name"]
    (source,) = (release / entry["path"]).iterdir()
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            command(source, release, uv, python, entry["version"]), check=False, capture_output=True, cwd="/"
        )
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
    if process.returncode != 0:
        said = process.stderr.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise NotBuiltError(f"Building {name} {entry['version']} failed:\n" + "\n".join(said))
    wheels = list(_wheels(process.stdout))
    if len(wheels) != 1 or _normalized(wheels[0][0].partition("-")[0]) != name:
        made = ", ".join(file for file, _ in wheels) or "no wheel"
        raise NotBuiltError(f"Building {name} {entry['version']} gave {made}")
    ((file, content),) = wheels
    target.mkdir(parents=True, exist_ok=True)
    (target / file).write_bytes(content)
    marker = f" ; {entry['marker']}" if entry["marker"] else ""
    return f"{name} @ {(target / file).as_uri()}{marker} --hash=sha256:{hashlib.sha256(content).hexdigest()}"


def _wheels(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the wheels in an archive that the build wrote, which may be anything.

    Raises:
        NotBuiltError: It is no archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and re.fullmatch(r"[A-Za-z0-9._+!-]+\.whl", name):
                    content = archive.extractfile(member)
                    yield name, content.read() if content else b""
    except tarfile.TarError as error:
        raise NotBuiltError(f"The build wrote no archive: {error}") from error


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
