"""The interpreter that a site names: found on the host, or brought by the controller."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.host import pythons
from fleet.host.pythons import PythonError, find, looked_for, place_of, program_in, unpacked

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose a process's user")


def program(path: Path, version: str = "3.12.4", prints: str = "") -> Path:
    """Write a program that answers like a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"path": str(path), "version": version, "machine": "x86_64", "glibc": "2.36", "abi": "cpython"}
    answer = prints or json.dumps(about)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("glibc", ["", "1.2.4", "x"])
def test_a_python_for_which_there_are_no_wheels_is_refused(host: Path, glibc: str) -> None:
    about = {"path": "x", "version": "3.12.4", "machine": "x86_64", "glibc": glibc, "abi": "cpython"}
    path = program(host / "bin/python3.12", prints=json.dumps(about))
    with pytest.raises(PythonError, match="another C library than glibc"):
        find(str(path))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host whose programs lie below a directory, which others may enter.

    It is none of pytest's, which any other session of this user closes to others when it starts.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        monkeypatch.setattr(pythons, "PATH", str(place / "bin"))
        monkeypatch.setattr(pythons, "_PLACES", (f"{place}/pyenv/versions/{{v}}*/bin/python{{v}}",))
        program(place / "bin" / "python3", "3.11.2")
        yield place


def test_a_command_a_path_and_a_version_name_an_interpreter(host: Path) -> None:
    newer = program(host / "pyenv/versions/3.12.4/bin/python3.12")
    assert find("python3").version == "3.11.2"
    assert find("3.11").path == str(host / "bin/python3")
    assert find("3.12").path == find("python3.12").path == find(str(newer)).path == str(newer)
    assert find("3.12").target == "3.12 x86_64 2.36"
    assert looked_for("3.12")["version"] == "3.12.4"


def test_a_version_that_is_not_there_is_told_with_what_is(host: Path) -> None:
    program(host / "pyenv/versions/3.12.4/bin/python3.12")
    with pytest.raises(PythonError, match=r"python3 is 3.11.2; .*python3.12 is 3.12.4"):
        find("3.12.5")
    with pytest.raises(PythonError, match=r"there is no python3.14; it has python3"):
        find("python3.14")
    with pytest.raises(PythonError, match=r"there is no /opt/none/python3"):
        find("/opt/none/python3")
    assert looked_for("3.14")["fault"]


@root_only
def test_one_that_the_service_may_not_run_is_refused_with_the_directory(host: Path) -> None:
    hidden = program(host / "home/.pyenv/versions/3.12.4/bin/python3.12")
    (host / "home").chmod(0o700)
    with pytest.raises(PythonError, match=rf"which lies in {host}/home \(others may not enter it\)"):
        find(str(hidden))


def test_what_is_no_python_is_told(host: Path) -> None:
    with pytest.raises(PythonError, match="is no Python"):
        find(str(program(host / "bin/strange", prints="hello")))


@pytest.mark.further
def test_a_python_that_the_controller_brings_makes_environments_where_it_is_unpacked(tmp_path: Path) -> None:
    # The interpreter of the tests with its standard library, at another place.
    base = Path(sys.base_prefix)
    library = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    place = tmp_path / "build" / "python"
    left_out = shutil.ignore_patterns(
        "test", "site-packages", "__pycache__", "idlelib", "tkinter", "config-*"
    )
    shutil.copytree(base / library, place / library, ignore=left_out, symlinks=True)
    (place / "bin").mkdir()
    shutil.copy2(base / "bin" / library.name, place / "bin" / library.name)
    for shared in base.glob("lib/libpython*.so*"):
        shutil.copy2(shared, place / "lib" / shared.name, follow_symlinks=False)
    archive = tmp_path / "python.tar"
    subprocess.run(["tar", "-C", str(place.parent), "-cf", str(archive), "python"], check=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()

    with pytest.raises(PythonError, match="checksum"):
        unpacked(archive, "0" * 64, place_of(tmp_path / "opt", "0" * 64))
    target = place_of(tmp_path / "opt", digest)
    unpacked(archive, digest, target)
    assert not archive.exists()
    code = "import sys, ssl, sqlite3, venv; print(sys.prefix, sys.version.split()[0])"
    answer = subprocess.run(
        [program_in(target), "-I", "-c", code], check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == [str(target / "python"), sys.version.split()[0]]


def test_an_archive_without_a_python_is_told(tmp_path: Path) -> None:
    with pytest.raises(PythonError, match=r"holds no bin/python3.x"):
        program_in(tmp_path)
