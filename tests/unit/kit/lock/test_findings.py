"""Everything that is wrong with a lock is told before any host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet.findings import report
from support.broken_locks import BROKEN_LOCKS, CELERY, HASH, Case, read, write


@pytest.mark.parametrize("case", BROKEN_LOCKS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_broken_lock_is_told_by_name(tmp_path: Path, case: Case) -> None:
    id, name, files, wanted, words = case
    _, findings = read(write(tmp_path, files), name, **wanted)
    text = report(findings)
    assert {finding.id for finding in findings} == {id}, text
    for word in words:
        assert word in text
    assert "hunter2" not in text
    assert str(tmp_path) not in text
    assert "celery-fleet-lock-" not in text


def test_all_faults_of_a_lock_are_told_at_once(tmp_path: Path) -> None:
    lock = (
        "--index-url https://a:b@e.org/\ncelery\nkombu==5.7.0\nshop @ git+https://e.org/a.git@v1\n"
        f"x==1 {HASH}\nx==2"
    )
    _, findings = read(write(tmp_path, {"r.txt": lock}), "r.txt", sdists=("nobody",))
    assert {finding.id.removeprefix("lock/") for finding in findings} == {
        *(
            "credentials",
            "unpinned",
            "no-hashes",
            "moving-revision",
            "sdist",
            "conflict",
            "unused-sdist",
            "index",
        ),
    }


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("kombu==5.7.0\n", {"hashes": False}),
        ("colorama ; sys_platform == 'win32'\n", {}),
        (f"till==1 ; python_version < '3.12' {HASH}\ntill==2 ; python_version >= '3.12' {HASH}\n", {}),
        (f"-r requirements.txt\nCelery==5.7.0 {HASH}\n", {}),
        ("-e .\n-e .[mail]\n.\n", {}),
        ("--extra-index-url https://pypi.e.org/simple\n", {"indexes": ("https://pypi.e.org/simple/",)}),
        (f"shop @ git+ssh://git@e.org/shop.git@{'b' * 40}\n", {"sdists": ("shop",)}),
        (f"shop @ https://e.org/shop-1-py3-none-any.whl {HASH}\n", {}),
        (f"https://e.org/shop-1-py3-none-any.whl#sha256={'a' * 64}\n", {}),
        ("\ufeff# a byte order mark\n", {}),
    ],
)
def test_what_people_write_is_no_fault(tmp_path: Path, lock: str, wanted: dict[str, object]) -> None:
    write(tmp_path, {"requirements.txt": CELERY})
    (tmp_path / "all.txt").write_text(lock + "-r requirements.txt\n" if "-r" not in lock else lock)
    found, findings = read(tmp_path, "all.txt", **wanted)
    assert found is not None
    assert report(findings) == "No finding."
