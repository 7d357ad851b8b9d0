"""Virtual environments on a host: one for each lock, and a copy by hard links for each release of it."""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from . import disk
from .pythons import Interpreter

COMPLETE: Final = ".complete"
CACHE: Final = ".cache"
ENVIRONMENTS: Final = "environments"
# What a release says of the environment that its own was made from.
REFERENCE: Final = "environment"
# Of pip's configuration on the host, what says where packages are; uv does not read it.
_PIP_FILES: Final = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_PIP_OPTIONS: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
# Longest first line that Linux takes for a script; beyond it installers write a shell's.
_SCRIPT_HEAD: Final = 4096


class BuildError(Exception):
    """A step of the build failed."""


def run(step: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command as root.

    Raises:
        BuildError: It failed; with its output.
    """
    process = subprocess.run(  # noqa: S603 - an argument list, no shell
        command,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        cwd="/",
    )
    if process.returncode != 0:
        raise BuildError(f"{step} failed:\n{process.stdout.strip()}")


def key_of(lock: bytes, python: Interpreter, *more: str) -> str:
    """Name the environment of a lock and an interpreter.

    Args:
        lock: The lock.
        python: The interpreter.
        more: What else decides what is installed.
    """
    parts = (
        lock,
        *(part.encode() for part in (python.path, python.version, python.abi, python.machine, *more)),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def uv_in(wheels: Path, root: Path) -> Path:
    """Return the program of a wheel of uv, unpacked.

    Args:
        wheels: Archive with the wheel, as the controller brings it, named after its content.
        root: Directory of the application; it goes below ``tools`` there.
    """
    tools = root / "tools"
    program = tools / wheels.stem / "uv"
    if program.is_file():
        return program
    tools.mkdir(parents=True, exist_ok=True)
    # At first, so that nothing of it is left to do when the program is there.
    for other in tools.iterdir():
        if other.is_dir():
            shutil.rmtree(other)
        elif other.is_file() and other != wheels:
            other.unlink()
    with tarfile.open(wheels) as archive:
        (member,) = archive.getmembers()
        packed = archive.extractfile(member)
        if packed is None:
            raise tarfile.TarError(f"{wheels} holds no wheel but {member.name}")
        with zipfile.ZipFile(io.BytesIO(packed.read())) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(".data/scripts/uv")]
            content = wheel.read(name)
    program.parent.mkdir()
    disk.write(program, content, 0o755)
    return program


def configured(files: Iterable[str] = _PIP_FILES) -> dict[str, str]:
    """Return what the host's configuration of pip says of where packages are, for uv.

    Args:
        files: The files of that configuration, the last of which wins.
    """
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(Path(file).expanduser(), encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            for option, variable in _PIP_OPTIONS.items():
                if value := parser.get(section, option, fallback=""):
                    found[variable] = " ".join(value.split())
    return found


class Environments:
    """The environments of an application on a host.

    Args:
        root: Directory of the application.
        uv: The program uv.
    """

    def __init__(self, root: Path, uv: Path) -> None:
        self.root, self.uv = root, uv
        # Beside the environments, so that their packages are links to it; removed with one of them.
        self.settings = {
            "UV_CACHE_DIR": str(root / ENVIRONMENTS / CACHE),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_HTTP_TIMEOUT": "120",
            # As pip does; hashes say which file is meant, whichever index has it.
            "UV_INDEX_STRATEGY": "unsafe-best-match",
        }
        # A host without the package has only the authorities that uv brings.
        if AUTHORITIES.is_file():
            self.settings["UV_SYSTEM_CERTS"] = "1"

    def make(self, key: str, python: Interpreter, install: Callable[[Path], None]) -> tuple[Path, bool]:
        """Make the environment of a lock, unless it is there.

        Args:
            key: Its name.
            python: The interpreter.
            install: Installs the lock into the environment that it is given.

        Returns:
            The environment, and whether it was made now.

        Raises:
            BuildError: A step failed.
            OSError: The disk is full, or fails.
        """
        place = self.root / ENVIRONMENTS / key
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (place.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (place / COMPLETE).exists():
                return place, False
            if place.exists():
                shutil.rmtree(place)
            self._run("Making the virtual environment", "venv", "--python", python.path, str(place))
            install(place)
            compiled(python, packages_of(place))
            disk.mark(place / COMPLETE)
            return place, True

    def install(self, place: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Install into an environment.

        Args:
            place: The environment.
            arguments: Of ``uv pip install``.
            environment: Added to the environment of uv.

        Raises:
            BuildError: It failed.
        """
        python = str(place / "bin" / "python")
        step = "Installing the requirements"
        self._run(step, "pip", "install", "--python", python, *arguments, environment=environment)
        # uv leaves its lock behind, writable for everybody.
        (place / ".lock").unlink(missing_ok=True)

    def complaints(self, place: Path) -> str:
        """Return what the packages of an environment that was just made require and do not find in it.

        uv knows its interpreter since it was empty, and does not start it, which would run what packages say.

        Args:
            place: The environment.
        """
        process = subprocess.run(  # noqa: S603 - an argument list, no shell
            [str(self.uv), "pip", "check", "--python", str(place / "bin" / "python")],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **self.settings},
            cwd="/",
        )
        lines = [line for line in process.stderr.splitlines() if line.startswith("The package")]
        # Every release has the kit's own package beside its environment.
        missed = [line for line in lines if "requires `celery-fleet" not in line]
        return "; ".join(missed) if process.returncode else ""

    def add(self, place: Path, python: Interpreter, wheels: Iterable[Path]) -> None:
        """Add wheels to a copy of an environment, whose own interpreter would run what its packages say.

        Args:
            place: The copy.
            python: The interpreter that it was made with.
            wheels: The wheels.

        Raises:
            BuildError: It failed.
        """
        step, options = "Installing the application", ("--no-deps", "--no-index", "--python", python.path)
        self._run(step, "pip", "install", *options, "--prefix", str(place), *map(str, wheels))
        for script in sorted((place / "bin").iterdir()):
            if not script.is_symlink() and script.is_file():
                head, line, rest = script.read_bytes().partition(b"\n")
                if re.fullmatch(rb"#!\S*python[0-9.]*", head) and str(place).encode() not in head:
                    # Not in place, where the environment of the lock has the file too.
                    _rewrite(script, b"#!" + str(place / "bin" / "python").encode() + line + rest)

    def _run(self, step: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        settings = {**configured(), **self.settings, **(environment or {})}
        run(step, str(self.uv), *arguments, "--quiet", environment=settings)


def packages_of(place: Path) -> Path:
    """Return the directory of an environment that holds its packages."""
    (packages,) = (place / "lib").glob("python*/site-packages")
    return packages


def compiled(python: Interpreter, *places: Path) -> None:
    """Compile modules, by the interpreter itself: that of an environment would run what packages put there.

    A tree may hold templates that are no valid Python; the import of the application is what counts.
    """
    command = [python.path, "-I", "-S", "-m", "compileall", "-qq", "-j0", *map(str, places)]
    subprocess.run(command, check=False, cwd="/", capture_output=True)  # noqa: S603 - no shell


def copied(source: Path, target: Path) -> None:
    """Copy an environment by hard links, and let its scripts run the interpreter of the copy.

    Args:
        source: A complete environment.
        target: The copy.

    Raises:
        BuildError: It cannot be copied.
    """
    try:
        run("Copying the environment", "cp", "-a", "--link", str(source), str(target))
    except BuildError:  # releases that lie in another file system
        shutil.rmtree(target, ignore_errors=True)
        run("Copying the environment", "cp", "-a", str(source), str(target))
    (target / COMPLETE).unlink(missing_ok=True)
    old, new = str(source).encode(), str(target).encode()
    for script in sorted((target / "bin").iterdir()):
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        if old in content[:_SCRIPT_HEAD]:
            _rewrite(script, content.replace(old, new))


def _rewrite(script: Path, content: bytes) -> None:
    mode = script.stat().st_mode
    script.unlink()
    script.write_bytes(content)
    script.chmod(mode)
