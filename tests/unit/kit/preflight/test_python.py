"""Hosts on whose Python the application does not run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fleet.findings import Findings
from fleet.model.host import Host
from fleet.preflight.python import check, fits


@pytest.mark.parametrize(
    ("version", "requires", "expected"),
    [
        ("3.11.2", "", True),
        ("3.10.12", "", False),
        ("3.11.2", ">=3.12", False),
        ("3.13.0", ">=3.11,<3.13", False),
        ("3.12.4", ">=3.11,<3.13,>=3.12", True),
        ("3.12", ">=3.12.3", True),
        ("3.12", ">=3.13", False),
        ("3.14.0rc1", ">=3.12", True),
        ("3.12.1", "nonsense", True),
    ],
)
def test_a_version_fits_the_project_its_lock_and_the_kit(version: str, requires: str, expected: bool) -> None:
    assert fits(version, requires) is expected


def found(python: dict[str, str], requires: str = "", **known: object) -> list[tuple[str, str, str]]:
    findings = Findings()
    host = Host("h1", python={"wanted": python["version"], **known} if known else None)
    check(python, requires, [host], findings)
    return [(finding.id, finding.variable, finding.where) for finding in findings]


def test_an_interpreter_that_is_not_there_or_too_old_is_told_by_its_host() -> None:
    python = {"version": "python3"}
    assert found(python, ">=3.11", version="3.11.2", path="/usr/bin/python3") == []
    assert found(python, ">=3.12", version="3.11.2", path="/usr/bin/python3") == [
        ("python/unfit", "fleet_app.python", "h1")
    ]
    assert found(python, fault="there is no python3") == [("python/absent", "fleet_app.python", "h1")]
    assert found(python, ">=3.99") == [], "a host that was not asked is not known"


def test_an_archive_is_what_the_site_says(tmp_path: Path) -> None:
    archive = tmp_path / "python.tar"
    archive.write_bytes(b"python")
    right = {"version": "3.12", "archive": str(archive), "sha256": hashlib.sha256(b"python").hexdigest()}
    assert found(right, ">=3.12") == []
    assert [id for id, _, _ in found(right, ">=3.13")] == ["python/unfit"]
    for wrong in ({"sha256": "0" * 64}, {"archive": str(tmp_path / "none")}, {"sha256": ""}):
        assert [id for id, _, _ in found(right | wrong)] == ["python/archive"]
