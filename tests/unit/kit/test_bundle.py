"""The archive of a release, from each kind of source."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from fleet.bundle import Application, Bundle, make_bundle
from fleet.findings import Findings
from fleet.lock.types import Wanted
from fleet.release import Entry

import celery_fleet_autoconfigure

LOCK = "celery==5.7.0 --hash=sha256:bb\nkombu==5.7.0 --hash=sha256:cc\nshop==1.4.2 --hash=sha256:aa\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree with its lock."""
    place = tmp_path / "shop"
    place.mkdir()
    (place / "app.py").write_text("app = 1\n")
    (place / "requirements.lock").write_text(LOCK)
    return place


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Make a bundle of a source, with packages of one file each beside it."""
    package = tmp_path / "celery_fleet"
    for place in (package, tmp_path / "celery_fleet_autoconfigure"):
        place.mkdir()
        (place / "__init__.py").write_text("")

    def make(
        lock: str | Path = "requirements.lock",
        autoconfigure: str = "",
        files: dict[str, Any] | None = None,
        **source: Any,
    ) -> Bundle:
        application = Application("shop", source, Wanted(str(lock)), "auto", autoconfigure, files or {})
        findings = Findings()
        made = make_bundle(application, package, tmp_path / "none", tmp_path / "cache", findings)
        assert not list(findings)
        return made

    return make


def git(place: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(place), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def names(made: Bundle) -> set[str]:
    assert made.archive
    with tarfile.open(made.archive) as archive:
        return set(archive.getnames())


def test_a_directory_is_named_after_the_application_and_its_content(
    source: Path, bundle: Callable[..., Bundle]
) -> None:
    made = bundle(type="directory", path=str(source))
    assert names(made) == {
        "src/app.py",
        "src/requirements.lock",
        "kit/celery_fleet/__init__.py",
        "kit/celery_fleet_autoconfigure/__init__.py",
        "requirements.lock",
    }
    assert made.release.startswith("shop-")
    assert made.archive and made.lock
    assert (made.archive.name, made.lock.read_text()) == (f"{made.release}.tar.gz", LOCK)
    written = made.archive.stat()
    assert bundle(type="directory", path=str(source)) == made
    assert made.archive.stat() == written, "the archive is in the cache"
    (source / "app.py").write_text("app = 2\n")
    assert bundle(type="directory", path=str(source)).release != made.release


def test_a_repository_is_named_after_its_tag_or_commit(source: Path, bundle: Callable[..., Bundle]) -> None:
    git(source, "init", "--quiet")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "--message=first")
    git(source, "tag", "v1.4")
    commit = git(source, "rev-parse", "HEAD")
    assert bundle(type="git", url=str(source), version="v1.4").release.startswith("v1.4-")
    assert bundle(type="git", url=str(source), version=commit).release.startswith(f"{commit[:12]}-")


def test_a_package_is_a_wheel_or_what_the_lock_pins(source: Path, bundle: Callable[..., Bundle]) -> None:
    lock, wheel = source / "requirements.lock", source / "shop-2.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    made = bundle(lock, type="package", requirement=str(wheel))
    assert made.release.startswith("2.0-")
    assert f"package/{wheel.name}" in names(made)
    pinned = bundle(lock, type="package", requirement="shop")
    assert pinned.release.startswith("1.4.2-")
    assert not any(name.startswith("package/") for name in names(pinned))


@pytest.mark.parametrize("kind", ["directory", "git", "package"])
def test_a_celery_that_cannot_run_here_is_refused_with_each_kind_of_source(
    source: Path, tmp_path: Path, kind: str
) -> None:
    """Also by `deploy.yml` alone, which makes the archive before it touches a host."""
    lock = source / "requirements.lock"
    lock.write_text(LOCK.replace("celery==5.7.0", "celery==5.4.0"))
    if kind == "git":
        git(source, "init", "--quiet")
        git(source, "add", ".")
        git(source, "commit", "--quiet", "--message=first")
    about = {
        "directory": {"path": str(source)},
        "git": {"url": str(source), "version": "HEAD"},
        "package": {"requirement": "shop"},
    }
    wanted = Wanted(str(lock) if kind == "package" else lock.name)
    findings = Findings()
    application = Application("shop", {"type": kind, **about[kind]}, wanted)
    made = make_bundle(
        application, tmp_path / "celery_fleet", tmp_path / "none", tmp_path / "cache", findings
    )
    assert made.archive is None
    (error,) = findings.errors
    assert (error.id, error.value, error.where) == (
        "versions/celery-too-old",
        "celery 5.4.0",
        wanted.requirements,
    )
    assert "5.5, 5.6 and 5.7" in error.reason


PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "shop"
dynamic = ["version"]
requires-python = ">=3.11"
[project.scripts]
shop = "shop:main"
"""


def test_a_project_is_installed_as_its_own_tools_would(
    source: Path, bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fleet.bundle.build_wheel", lambda *_: Entry("package/shop-1-py3-none-any.whl", b"wheel")
    )
    place = {"type": "directory", "path": str(source)}
    (source / "pyproject.toml").write_text(PROJECT)
    installed = bundle(**place)
    assert "package/shop-1-py3-none-any.whl" in names(installed)
    assert installed.requires_python == ">=3.11"
    (source / "pyproject.toml").write_text(PROJECT.replace("[build-system]", "[tool.shop]"))
    assert not any(name.startswith("package/") for name in names(bundle(**place)))


def test_a_subdirectory_is_the_release_and_may_have_its_lock_above(
    source: Path, bundle: Callable[..., Bundle]
) -> None:
    backend = source / "backend"
    backend.mkdir()
    (backend / "manage.py").write_text("")
    made = bundle("../requirements.lock", type="directory", path=str(source), subdirectory="backend")
    assert {name for name in names(made) if not name.startswith("kit/")} == {
        "src/manage.py",
        "requirements.lock",
    }


def test_an_application_that_the_release_configures(
    source: Path, bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    about = {"type": "directory", "path": str(source)}
    made = bundle(autoconfigure="shop.extensions:celery_app", **about)
    assert made.archive and made.release != bundle(**about).release
    with tarfile.open(made.archive) as archive:
        archive.extractall(tmp_path / "release", filter="data")
    (told,) = distributions(path=[str(tmp_path / "release" / "kit")])
    assert told.name == "celery-fleet-release"
    (target,) = told.entry_points.select(group=celery_fleet_autoconfigure.GROUP)
    assert (target.module, target.attr) == ("shop.extensions", "celery_app")
    (loaded,) = told.entry_points.select(group="kombu.serializers")
    assert loaded.load() is celery_fleet_autoconfigure.SERIALIZER


def test_files_of_the_site_are_part_of_the_release_and_of_its_name(
    source: Path, bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("DEBUG = False")
    files = {
        "local_settings.py": {"source": str(tmp_path / "own.py")},
        "shop_data/logo.bin": {"content": "AP8=", "encoding": "base64"},
    }
    made = bundle(type="directory", path=str(source), files=files)
    assert {"files/local_settings.py", "files/shop_data/logo.bin"} <= names(made)
    with tarfile.open(made.archive) as archive:
        logo = archive.extractfile("files/shop_data/logo.bin")
        assert logo and logo.read() == b"\0\xff"
    (tmp_path / "own.py").write_text("DEBUG = True")
    assert bundle(type="directory", path=str(source), files=files).release != made.release


def test_a_file_that_the_model_s_check_refuses_ends_nothing_here(
    source: Path, bundle: Callable[..., Bundle]
) -> None:
    files = {"one": {}, "two": {"content": "?", "encoding": "base64"}}
    assert bundle(type="directory", path=str(source), files=files).release


@pytest.mark.parametrize(
    ("more", "id", "reason"),
    [
        ({"working_directory": "web"}, "app/bad-path", "the source has no such directory"),
        (
            {"files": {"own.py": {"source": "/srv/site/none"}}},
            "app/file-content",
            "No such file or directory",
        ),
        (
            {"files": {"own.py": {"content": "$ANSIBLE_VAULT;1.1;AES256"}}},
            "app/file-content",
            "it is encrypted, and everybody on a host may read a release",
        ),
    ],
)
def test_what_the_release_cannot_have_is_found(
    source: Path, tmp_path: Path, more: Any, id: str, reason: str
) -> None:
    where = {"type": "directory", "path": str(source)}
    findings = Findings()
    application = Application("shop", where, Wanted("requirements.lock"), **more)
    made = make_bundle(application, tmp_path, tmp_path / "none", tmp_path / "cache", findings)
    assert [(finding.id, finding.reason) for finding in findings] == [(id, reason)]
    assert not made.release


BACKEND = """
import pathlib, zipfile
def build_wheel(directory, settings=None, metadata=None):
    with zipfile.ZipFile(pathlib.Path(directory, "till-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.write("till.py")
    return "till-1.0-py3-none-any.whl"
"""


def test_projects_and_wheels_in_the_source_that_the_lock_names_are_installed_too(
    source: Path, bundle: Callable[..., Bundle]
) -> None:
    till = source / "libs/till"
    till.mkdir(parents=True)
    (till / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (till / "backend.py").write_text(BACKEND)
    (till / "till.py").write_text("")
    (source / "wheels").mkdir()
    (source / "wheels/tax-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (source / "requirements.lock").write_text(f"{LOCK}-e ./libs/till\n./wheels/tax-1.0-py3-none-any.whl\n")
    made = bundle(type="directory", path=str(source), install=False)
    assert {name for name in names(made) if name.startswith("local/")} == {
        "local/till-1.0-py3-none-any.whl",
        "local/tax-1.0-py3-none-any.whl",
    }
    assert made.lock and made.lock.read_text() == LOCK


def test_a_project_in_the_source_that_cannot_be_built_is_told(source: Path, tmp_path: Path) -> None:
    (source / "libs").mkdir()
    (source / "libs/notes.txt").write_text("no project")
    (source / "requirements.lock").write_text(f"{LOCK}-e ./libs\n")
    findings = Findings()
    application = Application(
        "shop", {"type": "directory", "path": str(source)}, Wanted("requirements.lock"), False
    )
    make_bundle(application, tmp_path, tmp_path / "none", tmp_path / "cache", findings)
    assert [(finding.id, finding.value) for finding in findings] == [("lock/path", "libs")]
