"""The environment of a lock is made once on a host, and that of a release is a copy of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from fleet.host import disk
from fleet.host.environment import (
    BuildError,
    Environments,
    compiled,
    configured,
    copied,
    key_of,
    packages_of,
    uv_in,
)
from fleet.host.pythons import Interpreter
from support.wheels import wheel

UV = Path(sys.executable).parent / "uv"
PYTHON = Interpreter(sys.executable, sys.version.split()[0], "x86_64", "2.36", "cpython")
# pip's configuration of the machine that runs the tests is not the host's.
OFFLINE = ("--no-index", "--no-deps")


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    monkeypatch.setattr("fleet.host.environment.configured", dict)
    return Environments(tmp_path / "opt", UV)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = wheel(tmp_path / "wheels", "shop")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "lock").write_text(f"shop==1.0 --hash=sha256:{digest}\n")
    return tmp_path / "lock"


def made(environments: Environments, lock: Path, key: str = "e1") -> tuple[Path, bool]:
    arguments = ("--require-hashes", f"--find-links={lock.parent / 'wheels'}", f"--requirements={lock}")
    return environments.make(key, PYTHON, lambda place: environments.install(place, *OFFLINE, *arguments))


def printed(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_is_made_once_and_a_release_s_own_is_a_copy_that_needs_no_space(
    environments: Environments, lock: Path, tmp_path: Path
) -> None:
    place, new = made(environments, lock)
    assert new
    assert made(environments, lock) == (place, False)
    venv = tmp_path / "release" / "venv"
    venv.parent.mkdir()
    copied(place, venv)
    module = "shop/__init__.py"
    assert (packages_of(place) / module).samefile(packages_of(venv) / module)
    assert list(packages_of(venv).glob("shop/__pycache__/__init__*.pyc"))
    assert printed(venv / "bin" / "shop") == "shop 1.0"
    files = [path for path in venv.rglob("*") if not path.is_symlink()]
    assert not [path for path in files if path.stat().st_mode & 0o022]
    code = "import shop, sys; print(sys.prefix, shop.__file__)"
    assert printed(venv / "bin" / "python", "-c", code).split() == [
        str(venv),
        str(packages_of(venv) / module),
    ]
    assert str(place).encode() not in b"".join(
        path.read_bytes() for path in (venv / "bin").iterdir() if not path.is_symlink()
    )


def test_what_a_release_adds_is_not_in_the_environment_of_its_lock(
    environments: Environments, lock: Path, tmp_path: Path
) -> None:
    place, _ = made(environments, lock)
    first, second = tmp_path / "first", tmp_path / "second"
    copied(place, first)
    newer = wheel(tmp_path / "own", "shop", "2.0")
    environments.add(first, PYTHON, [newer, wheel(tmp_path / "own", "till")])
    copied(place, second)
    assert (printed(first / "bin" / "shop"), printed(first / "bin" / "till")) == ("shop 2.0", "till 1.0")
    assert printed(second / "bin" / "shop") == "shop 1.0"
    assert not (second / "bin" / "till").exists()


def test_one_that_failed_is_made_anew(environments: Environments, lock: Path) -> None:
    text = lock.read_text()
    lock.write_text(text.replace("1.0", "1.1"))
    with pytest.raises(BuildError, match=r"(?s)Installing the requirements failed:.*shop==1\.1"):
        made(environments, lock)
    lock.write_text(text)
    assert made(environments, lock)[1]


def test_it_is_complete_only_when_it_is_on_disk(
    environments: Environments, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power the mark could be there and the files empty."""
    flush, marked = disk.flush, []

    def flushed(place: Path) -> None:
        marked.append((packages_of(place) / "shop").is_dir() and not (place / ".complete").exists())
        flush(place)

    monkeypatch.setattr(disk, "flush", flushed)
    place, _ = made(environments, lock)
    assert marked == [True]
    assert (place / ".complete").exists()
    monkeypatch.setattr(disk, "flush", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        made(environments, lock, "e2")
    assert not (place.parent / "e2" / ".complete").exists()


def test_another_file_under_the_same_version_is_refused(environments: Environments, lock: Path) -> None:
    wheel(lock.parent / "wheels", "shop", files={"shop/more.py": ""})
    with pytest.raises(BuildError, match="Hash mismatch"):
        made(environments, lock)


def test_nothing_of_a_package_runs_while_it_is_installed(
    environments: Environments, lock: Path, tmp_path: Path
) -> None:
    planted = {"evil.pth": f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"}
    path = wheel(lock.parent / "wheels", "shop", files=planted)
    lock.write_text(f"shop==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    place, _ = made(environments, lock)
    assert environments.complaints(place) == ""
    copied(place, tmp_path / "venv")
    environments.add(tmp_path / "venv", PYTHON, [wheel(tmp_path / "own", "till")])
    compiled(PYTHON, packages_of(tmp_path / "venv"))
    assert (packages_of(tmp_path / "venv") / "evil.pth").is_file()
    assert not (tmp_path / "ran").exists()


def test_what_packages_miss_is_told(environments: Environments, lock: Path) -> None:
    """What the kit brings by itself is not missed."""
    required = {"shop": "till>=2", "mill": "celery-fleet>=0.1"}
    place = lock.parent / "wheels"
    paths = {name: wheel(place, name, **{"Requires-Dist": text}) for name, text in required.items()}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    lock.write_text("".join(f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in digests.items()))
    said = environments.complaints(made(environments, lock)[0])
    assert said == "The package `shop` requires `till>=2`, but it's not installed"


def test_its_name_covers_the_lock_and_the_interpreter() -> None:
    names = [
        key_of(b"celery==5.7.0", PYTHON),
        key_of(b"celery==5.7.1", PYTHON),
        key_of(b"celery==5.7.0", replace(PYTHON, version="3.12.0")),
        key_of(b"celery==5.7.0", replace(PYTHON, path="/usr/bin/python3")),
        key_of(b"celery==5.7.0", PYTHON, "more"),
    ]
    assert len(set(names)) == len(names)
    assert key_of(b"celery==5.7.0", PYTHON) == names[0]


def test_the_host_s_configuration_of_pip_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(
        "[global]\nindex-url = https://one.example.org\nextra-index-url =\n  https://a\n  https://b\n"
    )
    second.write_text(
        "[install]\nindex-url = https://two.example.org/%7Ex\n[global]\ncert = /etc/ssl/ca.pem\n"
    )
    assert configured([str(first), str(second), "/none"]) == {
        "UV_DEFAULT_INDEX": "https://two.example.org/%7Ex",
        "UV_INDEX": "https://a https://b",
        "SSL_CERT_FILE": "/etc/ssl/ca.pem",
    }


def test_uv_is_unpacked_once_and_an_older_one_goes(tmp_path: Path) -> None:
    def brought(version: str) -> Path:
        path = tmp_path / f"uv-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"uv-{version}.data/scripts/uv", version)
        with tarfile.open(tmp_path / f"uv-{version}.tar", "w") as tar:
            tar.add(path, path.name)
        return tmp_path / f"uv-{version}.tar"

    old = uv_in(brought("1"), tmp_path / "opt")
    assert (old.read_text(), old.stat().st_mode & 0o777) == ("1", 0o755)
    new = uv_in(brought("2"), tmp_path / "opt")
    assert uv_in(tmp_path / "uv-2.tar", tmp_path / "opt") == new
    assert not old.exists()
