"""What a host builds comes out of the sandbox as one wheel of the right name, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fleet.host import sandbox
from fleet.host.sandbox import NotBuiltError, build

UV = Path(sys.executable).parent / "uv"
BACKEND = """
import os, pathlib, zipfile
def build_wheel(directory, settings=None, metadata=None):
    pathlib.Path("left-over").touch()
    version = os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"]
    name = f"my_till-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        wheel.writestr("till.py", "")
    return name
"""
# Stands for systemd-run: sets the variables and runs the command.
SYSTEMD_RUN = """#!/bin/sh
for word; do case $word in --setenv=*) export "${word#--setenv=}";; --*) ;; *) break;; esac; shift; done
exec "$@"
"""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place, source = tmp_path / "r1", tmp_path / "r1/sdists/my-till-1.2/my-till"
    source.mkdir(parents=True)
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (source / "pyproject.toml").write_text(system)
    (source / "backend.py").write_text(BACKEND)
    (place / "builders").mkdir()
    marker = "python_version >= '3'"
    entry = {"name": "my-till", "path": "sdists/my-till-1.2", "marker": marker, "version": "1.2"}
    (place / "sdists.json").write_text(json.dumps([entry]))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemd-run").write_text(SYSTEMD_RUN)
    (tmp_path / "bin/systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    # systemd makes it, and removes what may be in the way.
    cache = tmp_path / "cache"
    monkeypatch.setattr(sandbox, "PLACE", cache)
    remove = sandbox.shutil.rmtree

    def emptied(path: Path, **options: bool) -> None:
        remove(path, **options)
        path.mkdir()

    monkeypatch.setattr(sandbox.shutil, "rmtree", emptied)
    return place


def test_a_wheel_is_built_from_a_copy_of_its_source(release: Path, tmp_path: Path) -> None:
    (line,) = build(release, UV, sys.executable, tmp_path / "built")
    wheel = tmp_path / "built/my_till-1.2-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert line == f"my-till @ {wheel.as_uri()} ; python_version >= '3' --hash=sha256:{digest}"
    assert not (release / "sdists/my-till-1.2/my-till/left-over").exists()
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_failed_build_says_is_told(release: Path, tmp_path: Path) -> None:
    (release / "sdists/my-till-1.2/my-till/backend.py").write_text("raise SystemExit('no compiler')")
    with pytest.raises(NotBuiltError, match=r"(?s)Building my-till 1\.2 failed:.*no compiler"):
        build(release, UV, sys.executable, tmp_path / "built")


def test_a_release_without_sources_builds_nothing(tmp_path: Path) -> None:
    assert build(tmp_path, UV, sys.executable, tmp_path / "built") == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "gave no wheel"),
        (["celery-5.7.0-py3-none-any.whl"], "gave celery-5.7.0"),
        (["my_till-1-py3-none-any.whl", "celery-5.7.0-py3-none-any.whl"], "gave my_till-1"),
        (["my_till-1.tar.gz"], "gave no wheel"),
        (None, "wrote no archive"),
    ],
)
def test_a_build_that_gives_something_else_is_refused(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[str] | None, said: str
) -> None:
    packed = io.BytesIO(b"" if members is not None else b"x" * 600)
    if members is not None:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in members:
                archive.addfile(tarfile.TarInfo(f"../../{name}"))
    done = subprocess.CompletedProcess([], 0, packed.getvalue(), b"")
    monkeypatch.setattr(sandbox.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(NotBuiltError, match=said):
        build(release, UV, sys.executable, tmp_path / "built")
    assert not (tmp_path / "built").exists()


def test_the_sandbox_has_no_network_no_rights_and_one_directory() -> None:
    words = sandbox.command(Path("/r/sdists/x/a b.tar.gz"), Path("/r"), UV, "/usr/bin/python3", "1")
    properties = {word.partition("=")[2] for word in words if word.startswith("--property=")}
    assert {
        "User=celery-fleet-build",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "ProtectSystem=strict",
        "CacheDirectory=celery-fleet-build",
    } <= properties
    assert "'/r/sdists/x/a b.tar.gz'" in words[-1]
