"""Sources of what has no wheel come from the index with its password, or from a repository."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.findings import Findings, report
from fleet.lock.fetch import Origin, fetch_sources, server_of
from fleet.lock.requirement import Repository, Requirement
from fleet.lock.types import Lock
from fleet.release import Entry
from fleet.source.git import Access
from support.package_index import PASSWORD, USER, digest, package_index, sdist, wheel

SOURCE, BUILDER = sdist("docopt", "0.6.2"), wheel("setuptools", "84")


@pytest.fixture
def index() -> Iterator[str]:
    files = {"docopt-0.6.2.tar.gz": SOURCE, "setuptools-84-py3-none-any.whl": BUILDER}
    with package_index(files) as address:
        yield address


def fetched(
    place: Path, index: str, *wanted: Requirement, **login: Any
) -> tuple[dict[str, Entry], Findings, str]:
    builders = place / "builders.txt"
    builders.write_text(f"setuptools==84 {digest(BUILDER)}\n")
    findings = Findings()
    given = {"url": index, "username": USER, "password": PASSWORD} | login
    origin = Origin([given], "", Access(), builders, place / "cache")
    lock = Lock(wanted, sdists=frozenset(requirement.name for requirement in wanted))
    found = {entry.path: entry for entry in fetch_sources(lock, origin, findings)}
    return found, findings, report(findings)


def pinned(content: bytes = SOURCE, **more: Any) -> Requirement:
    return Requirement(
        "docopt", "0.6.2", hashes=(digest(content).removeprefix("--hash="),), where="uv.lock", **more
    )


def test_a_source_comes_from_an_index_that_asks_for_a_password(
    tmp_path: Path, index: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found, _, text = fetched(tmp_path, index, pinned(marker="python_version >= '3'"))
    assert text == "No finding."
    assert found.keys() == {
        "sdists/docopt-0.6.2/docopt-0.6.2.tar.gz",
        "builders/setuptools-84-py3-none-any.whl",
        "sdists.json",
    }
    assert found["sdists/docopt-0.6.2/docopt-0.6.2.tar.gz"].data == SOURCE
    assert json.loads(found["sdists.json"].data) == [
        {
            "name": "docopt",
            "path": "sdists/docopt-0.6.2",
            "marker": "python_version >= '3'",
            "version": "0.6.2",
        }
    ]
    again, _, text = fetched(tmp_path, "http://127.0.0.1:9/simple", pinned(marker="python_version >= '3'"))
    assert (again, text) == (found, "No finding."), "the second time comes from the cache"
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, ""),
        ({"username": "", "password": ""}, ""),
        ({"url": "http://127.0.0.1:9/simple"}, "no index has a file of docopt==0.6.2"),
    ],
)
def test_an_index_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, index: str, change: dict[str, str], said: str
) -> None:
    found, findings, text = fetched(tmp_path, index, pinned(), **change)
    assert not found
    assert [finding.id for finding in findings] == ["lock/unfetched"]
    assert said in text
    assert not any(secret in text for secret in (PASSWORD, "wrong", "p%40ss"))


def test_another_file_than_the_lock_means_is_refused(tmp_path: Path, index: str) -> None:
    found, _, text = fetched(tmp_path, index, pinned(b"another"))
    assert not found
    assert "no index has a file of docopt==0.6.2 with a hash of the lock" in text


@pytest.mark.parametrize(
    ("requires", "missing"),
    [
        ('["setuptools>=40", "wheel; python_version < \'3\'"]', []),
        ('["SetupTools>=90"]', ["SetupTools>=90"]),
        ('["setuptools", "numpy==2.*", "Cython>=3"]', ["numpy==2.*", "Cython>=3"]),
        ('"setuptools"', []),
    ],
)
def test_what_a_build_requires_and_no_builder_is_is_found_before_hosts_build(
    tmp_path: Path, requires: str, missing: list[str]
) -> None:
    source = sdist("docopt", "0.6.2", pyproject=f"[build-system]\nrequires = {requires}\n")
    files = {"docopt-0.6.2.tar.gz": source, "setuptools-84-py3-none-any.whl": BUILDER}
    with package_index(files) as index:
        _, findings, text = fetched(tmp_path, index, pinned(source))
    assert [finding.id for finding in findings] == ["lock/unbuildable"] * len(missing)
    assert all(f"its build requires {each}" in text for each in missing)


def test_a_source_comes_from_a_repository(tmp_path: Path, index: str) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path / "repository")]
        return subprocess.run(
            [*command, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    package = tmp_path / "repository/python/greeting"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    commit = git("rev-parse", "HEAD")
    place = Repository("git", f"file://{tmp_path}/repository", commit, "python")
    found, _, text = fetched(tmp_path, index, Requirement("greeting", repository=place, where="uv.lock"))
    assert text == "No finding."
    version = f"0+g{commit[:12]}"
    assert f"sdists/greeting-{version}/greeting/greeting/__init__.py" in found
    lost, _, text = fetched(
        tmp_path, index, Requirement("greeting", repository=Repository("git", place.url, "b" * 40), where="r")
    )
    assert not lost
    assert f"{place.url} at {'b' * 12}" in text
    foreign = Repository("hg", "https://e.org/x", "c" * 40)
    assert "only git is supported" in fetched(tmp_path, index, Requirement("x", repository=foreign))[2]


def test_what_needs_no_build_asks_nobody(tmp_path: Path) -> None:
    found, _, text = fetched(tmp_path, "http://127.0.0.1:9/simple")
    assert (found, text) == ({}, "No finding.")


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("https://git.e.org/a.git", "git.e.org"),
        ("ssh://git@git.e.org:22/a.git", "git.e.org"),
        ("git@git.e.org:a/b.git", "git.e.org"),
        ("git.e.org:a/b.git", "git.e.org"),
        ("https://git.e.org.evil.org/a", "git.e.org.evil.org"),
        ("https://git.e.org@evil.org/a", "evil.org"),
        ("/srv/git/a.git", ""),
        ("", ""),
    ],
)
def test_a_password_is_for_one_server(address: str, server: str) -> None:
    assert server_of(address) == server
