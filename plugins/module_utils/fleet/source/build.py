"""The application's own package: its project built into a wheel, on the controller."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..release import Entry

# The build of a project may run its own code, which is given nothing of Ansible's environment.
_PASSED: Final = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_PASSED_PREFIXES: Final = ("UV_", "PIP_", "XDG_")
# The names under which tools that read versions from git take one instead.
_VERSIONS: Final = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "UV_DYNAMIC_VERSIONING_BYPASS")
# Zip archives know no earlier time.
_EPOCH: Final = "315532800"
_LAST_LINES: Final = 15


class NotBuiltError(Exception):
    """The project cannot be built; the message is the end of what the tool printed."""


def uv() -> str | None:
    """Return the controller's uv; none if it has none."""
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.is_file() else shutil.which("uv")


def build_wheel(files: Iterable[Entry], prefix: str, version: str) -> Entry:
    """Build the project that some files are.

    Args:
        files: The files of the source.
        prefix: Directory in which their paths begin.
        version: The version of projects that take it from git.

    Returns:
        The wheel, as ``package/<name>`` of the release.

    Raises:
        NotBuiltError: The build failed, or gives a wheel for one platform only.
    """
    tool = uv()
    if tool is None:
        raise NotBuiltError("the controller has no uv: install requirements/controller.txt")
    with tempfile.TemporaryDirectory(prefix="celery-fleet-build-") as name:
        source, target = Path(name) / "source", Path(name) / "wheels"
        _write(files, prefix, source)
        passed = {
            key: value
            for key, value in os.environ.items()
            if key in _PASSED or key.startswith(_PASSED_PREFIXES)
        }
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            [
                tool,
                "build",
                "--quiet",
                "--wheel",
                "--python",
                sys.executable,
                "--out-dir",
                str(target),
                str(source),
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=source,
            env=passed
            | dict.fromkeys(_VERSIONS, version)
            | {"SOURCE_DATE_EPOCH": _EPOCH, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"},
        )
        wheels = sorted(target.glob("*.whl")) if target.is_dir() else []
        if process.returncode != 0 or not wheels:
            raise NotBuiltError("\n".join(process.stdout.strip().splitlines()[-_LAST_LINES:]))
        (wheel,) = wheels
        if not wheel.name.endswith("-none-any.whl"):
            raise NotBuiltError(f"it gives {wheel.name}, which fits hosts like the controller only")
        return Entry(f"package/{wheel.name}", wheel.read_bytes())


def _write(files: Iterable[Entry], prefix: str, place: Path) -> None:
    place.mkdir()
    for entry in files:
        path = place / Path(entry.path).relative_to(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            path.symlink_to(entry.link)
            continue
        path.write_bytes(entry.data)
        path.chmod(0o755 if entry.executable else 0o644)
