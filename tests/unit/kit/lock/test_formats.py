"""Real locks of each tool become the same requirements."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fleet.findings import report
from fleet.lock.requirement import Requirement, fits
from fleet.lock.types import Lock
from support.broken_locks import CELERY, HASH, LOCKS, TOOLS, read, write

PACKAGES = {
    *("amqp", "billiard", "celery", "click", "click-didyoumean", "click-plugins", "click-repl", "docopt"),
    *(
        "greeting",
        "kombu",
        "prompt-toolkit",
        "python-dateutil",
        "six",
        "typing-extensions",
        "tzlocal",
        "vine",
    ),
    "wcwidth",
}
CELERY_WHEEL = "sha256:18310a9c919f9029e4735367484d93e6a25cdfd30afdc474622cc263d9b35f6e"
SDISTS = ("docopt", "greeting")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_lock_of_each_tool_is_read(tool: str) -> None:
    lock, findings = read(LOCKS / tool, TOOLS[tool], sdists=SDISTS)
    assert report(findings) == "No finding."
    assert lock is not None
    by_name = {requirement.name: requirement for requirement in lock.requirements}
    assert by_name.keys() == PACKAGES, "the application, its groups and what is for Windows are left out"
    assert by_name["celery"].version == "5.7.0"
    assert CELERY_WHEEL in by_name["celery"].hashes
    place = by_name["greeting"].repository
    assert place is not None
    assert (place.kind, place.url) == ("git", "https://git.example.org/greeting.git")
    assert place.is_fixed
    assert lock.sdists_text.splitlines()[0].startswith("docopt==0.6.2")
    assert all(" --hash=sha256:" in line for line in lock.wheels_text.splitlines())
    assert len(lock.wheels_text.splitlines()) == len(PACKAGES) - len(SDISTS)


@pytest.mark.parametrize(
    ("tool", "chosen", "more"),
    [
        ("uv", {"groups": ("dev",), "extras": ("mail",)}, {"iniconfig", "html2text"}),
        ("poetry", {"groups": ("dev",), "extras": ("mail",)}, {"iniconfig", "html2text"}),
        ("pipenv", {"groups": ("dev-packages",)}, {"iniconfig"}),
    ],
)
def test_groups_and_extras_are_chosen(tool: str, chosen: dict[str, tuple[str, ...]], more: set[str]) -> None:
    lock, _ = read(LOCKS / tool, TOOLS[tool], sdists=SDISTS, **chosen)
    assert lock is not None
    assert {requirement.name for requirement in lock.requirements} == PACKAGES | more


def test_a_lock_outside_of_the_source_belongs_to_the_project_in_it(tmp_path: Path) -> None:
    shutil.copy(LOCKS / "uv/uv.lock", tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(LOCKS / "uv/pyproject.toml", source)
    lock, findings = read(source, str(tmp_path / "uv.lock"), sdists=SDISTS)
    assert report(findings) == "No finding."
    assert lock is not None
    assert {requirement.name for requirement in lock.requirements} == PACKAGES


def test_a_workspace_locks_above_the_application(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path / "work")
    member = write(tmp_path / "work/shop", {"app.py": ""})
    lock, findings = read(member, "../uv.lock", sdists=SDISTS)
    assert report(findings) == "No finding."
    assert lock is not None


def test_a_pylock_decides_on_groups_and_keeps_other_markers(tmp_path: Path) -> None:
    def package(name: str, marker: str) -> str:
        wheel = f'url = "https://e.org/{name}-1-py3-none-any.whl", hashes = {{sha256 = "{"a" * 64}"}}'
        return f'[[packages]]\nname = "{name}"\nversion = "1"\nmarker = "{marker}"\nwheels = [{{{wheel}}}]\n'

    text = (
        'lock-version = "1.0"\ncreated-by = "pdm"\nrequires-python = ">=3.11"\n'
        'dependency-groups = ["default", "dev"]\ndefault-groups = ["default"]\nextras = ["mail"]\n'
        + package("celery", "'default' in dependency_groups")
        + package("iniconfig", "'dev' in dependency_groups or 'x' in extras")
        + package("html2text", "'mail' in extras and python_version < '3.13'")
        + package("notmail", "'mail' not in extras")
    )
    lock, findings = read(write(tmp_path, {"pylock.shop.toml": text}), "pylock.shop.toml", extras=("mail",))
    assert report(findings) == "No finding."
    assert lock is not None
    by_name = {requirement.name: requirement for requirement in lock.requirements}
    assert by_name.keys() == {"celery", "html2text"}
    assert by_name["html2text"].applies("3.12", "x86_64")
    assert not by_name["html2text"].applies("3.13", "x86_64")
    assert lock.requires_python == ">=3.11"


def test_constraints_pin_what_a_file_requires_and_nothing_else(tmp_path: Path) -> None:
    files = {"all.txt": "-c pins.txt\ncelery[redis]\n", "pins.txt": f"{CELERY}kombu==5.7.0 {HASH}\n"}
    lock, findings = read(write(tmp_path, files), "all.txt")
    assert report(findings) == "No finding."
    assert lock is not None
    assert lock.wheels_text == f"celery[redis]==5.7.0 {HASH}\n"


def test_a_package_is_found_in_a_lock_by_any_spelling() -> None:
    lock = Lock(
        (
            Requirement("celery", "5.7.0", "python_version >= '3.12'"),
            Requirement("celery", "5.6.2", "python_version < '3.12'"),
            Requirement("my-shop", "1.4.2rc1"),
        )
    )
    assert lock.versions(["celery", "kombu"]) == {"celery": "5.6.2"}, "the lowest has to do"
    assert lock.version_of("My_Shop") == lock.version_of("my.shop[web]==1.4.2rc1") == "1.4.2rc1"
    assert lock.version_of("my-shop==2") is None
    assert lock.version_of("till") is None
    assert lock.version_of("no requirement") is None


@pytest.mark.parametrize(
    "line", [f"celery-fleet==0.1.0 {HASH}", "./vendor/celery_fleet-0.1.0-py3-none-any.whl"]
)
def test_the_kit_s_own_package_is_left_to_the_kit(tmp_path: Path, line: str) -> None:
    files = {"requirements.txt": f"{CELERY}\n{line}\n", "vendor/celery_fleet-0.1.0-py3-none-any.whl": ""}
    lock, findings = read(write(tmp_path, files), "requirements.txt")
    assert report(findings) == "No finding."
    assert lock is not None
    assert "celery-fleet" not in lock.wheels_text and "celery==" in lock.wheels_text


@pytest.mark.parametrize(
    ("wheel", "python", "fit"),
    [
        ("shop-1-py3-none-any.whl", "", True),
        ("shop-1-py2.py3-none-any.whl", "3.13", True),
        ("shop-1-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "3.13", True),
        ("shop-1-cp312-cp312-manylinux_2_28_aarch64.whl", "3.12", True),
        ("shop-1-cp312-cp312-manylinux_2_28_aarch64.whl", "3.13", False),
        ("shop-1-cp312-cp312-manylinux_2_28_aarch64.whl", "", True),
        ("shop-1-cp313-cp313-musllinux_1_2_x86_64.whl", "3.13", False),
        ("shop-1-cp313-cp313-win_amd64.whl", "", False),
        ("shop-1-cp313-cp313-macosx_11_0_arm64.whl", "3.13", False),
        ("called-anyhow.whl", "3.13", True),
    ],
)
def test_a_wheel_fits_hosts_by_its_name(wheel: str, python: str, fit: bool) -> None:
    assert fits(wheel, python) is fit
    assert Requirement("shop", "1", wheels=(wheel,)).must_be_built(python) is not fit


def test_what_hosts_do_not_need_they_do_not_build() -> None:
    old = Requirement("shop", "1", "python_version < '3.12'", wheels=())
    assert old.must_be_built("3.11")
    assert not old.must_be_built("3.13")
    assert not Requirement("shop", "1").must_be_built("3.13"), "the lock does not say"
