"""What is wrong with a source is found at once, before a release is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet.bundle import Application, Bundle, make_bundle
from fleet.findings import Findings
from fleet.lock.types import Wanted
from fleet.source.read import _explained
from support.broken_sources import BROKEN_SOURCES, KEY, LOCK, POINTER, SOUND, git, write


def made(root: Path, said: dict[str, Any], findings: Findings) -> Bundle:
    package = write(root / "celery_fleet", {"__init__.py": ""})
    lock = Wanted(said.get("requirements", "requirements.lock"))
    application = Application("shop", said["source"], lock, said.get("install", "auto"))
    return make_bundle(application, package, root / "none", root / "cache", findings)


@pytest.mark.parametrize("case", BROKEN_SOURCES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_fault_is_told_by_name(
    tmp_path: Path, case: tuple[str, str, Callable[[Path], dict[str, Any]]]
) -> None:
    id, variable, make = case
    findings = Findings()
    bundle = made(tmp_path, make(tmp_path), findings)
    assert [(finding.id, finding.variable) for finding in findings] == [(id, variable)]
    assert bool(bundle.release) == (not findings.errors)


def test_all_faults_are_told_at_once_with_the_versions_that_the_lock_pins(tmp_path: Path) -> None:
    root = write(
        tmp_path / "shop", SOUND | {"a.bin": POINTER, "b.pem": KEY, "requirements.lock": LOCK + "flask==3\n"}
    )
    (root / "hosts").symlink_to("../hosts")
    findings = Findings()
    bundle = made(tmp_path, {"source": {"type": "directory", "path": str(root)}}, findings)
    assert {finding.id for finding in findings} == {
        "source/lfs-pointer",
        "source/outside-link",
        "source/private-key",
        "lock/no-hashes",
    }
    assert KEY.splitlines()[1] not in str(list(findings))
    assert bundle.versions == {"celery": "5.7.0", "kombu": "5.7.0"}


def test_what_a_site_excludes_or_accepts_is_no_fault(tmp_path: Path) -> None:
    root = write(tmp_path / "shop", SOUND | {"a.bin": POINTER, "tests/fixtures/b.pem": KEY})
    source = {"type": "directory", "path": str(root), "exclude": ["tests/*.pem"]}
    findings = Findings({"source/lfs-pointer": "nobody reads it"})
    assert made(tmp_path, {"source": source}, findings).release
    assert [finding.severity for finding in findings] == ["accepted"]


@pytest.mark.parametrize(
    ("printed", "reason", "helps"),
    [
        (
            "@@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n"
            + "long\n" * 99
            + "Host key verification failed.\nfatal: Could not read from remote repository.\n",
            "Host key verification failed.",
            "known_hosts",
        ),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "git@h: Permission denied (publickey).",
            "fleet_app.source.key",
        ),
        ("fatal: Needed a single revision", "fatal: Needed a single revision", "fleet_app.source.version"),
        (
            "ssh: connect to host h port 22: refused\nfatal: no",
            "ssh: connect to host h port 22: refused fatal: no",
            "",
        ),
    ],
)
def test_what_git_says_is_told_shortly_with_what_helps(printed: str, reason: str, helps: str) -> None:
    found, remedy = _explained(printed)
    assert found == reason
    assert helps in (remedy or "")


@pytest.mark.parametrize("name", [b"caf\xe9.py", b"two\nlines.py"])
@pytest.mark.parametrize("checkout", [False, True])
def test_a_name_that_no_archive_can_hold_is_told(tmp_path: Path, name: bytes, checkout: bool) -> None:
    root = write(tmp_path / "shop", SOUND)
    Path(os.fsdecode(bytes(root) + b"/" + name)).write_text("")
    if checkout:
        git(root, "init", "--quiet")
        git(root, "add", "--all")
    findings = Findings()
    made(tmp_path, {"source": {"type": "directory", "path": str(root)}}, findings)
    assert [finding.id for finding in findings] == ["source/unreadable"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "shop", SOUND | {"secret": "x"})
    (root / "secret").chmod(0)
    findings = Findings()
    made(tmp_path, {"source": {"type": "directory", "path": str(root)}}, findings)
    assert [finding.id for finding in findings] == ["source/unreadable"]
