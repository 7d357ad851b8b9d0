"""Everything that is wrong with a lock is told before any host is touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fleet.findings import report
from support.broken_locks import BROKEN_LOCKS, CELERY, HASH, PYPROJECT, Case, read, write


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


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "Pipfile.lock"])
def test_a_controller_without_the_tool_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("fleet.lock.export.shutil.which", lambda _: None)
    monkeypatch.setattr("fleet.lock.export.sys.executable", "/nowhere/python")
    files = {name: "", "pyproject.toml": PYPROJECT, "Pipfile": ""}
    _, findings = read(write(tmp_path, files), name)
    assert [finding.id for finding in findings] == ["lock/unreadable"]
    assert "install the kit's requirements/controller.txt" in report(findings)


def test_a_controller_without_parsers_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip._internal.req.req_file", None)
    monkeypatch.setattr("fleet.lock.pylock.Pylock", None)
    for name in ("requirements.txt", "pylock.toml"):
        _, findings = read(write(tmp_path, {name: CELERY}), name)
        assert "that can read it: install the kit's" in report(findings)


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


ODD = (
    *(
        "-e",
        "-r",
        "-r .",
        "-r ${HOME}/x.txt",
        "-c nope.txt",
        "--index-url",
        "--require-hashes",
        "--pre",
        "\\",
    ),
    *(
        "-e .[a,b]",
        ". ; python_version > '3'",
        "-e ../outside",
        "./x-1.tar.gz",
        "x @ ./rel",
        "~/x.whl",
        "C:\\x",
    ),
    *(
        "-e git+ssh://git@h/x.git@main#egg=x&subdirectory=y",
        "git+https://u:p@h/x@abc#egg=x[extra]",
        "git@h:a",
    ),
    *(
        "file:///srv/x-1.0.tar.gz",
        "-e file:///srv/x",
        "https://h/x.zip",
        "https://h/x-1.tar.gz#md5=a",
        "hg+h://r",
    ),
    *(
        "x @ https://[::1",
        "https://[::1",
        "x@git+https://h/a@",
        "svn+svn://h/r#egg=r",
        "--find-links https://a:b@h",
    ),
    *(
        "x===1!2",
        "x==1.*",
        "x==1,!=2",
        "x==",
        "===1",
        "x[a,b]==1",
        "X.Y_z==1.0+local",
        "\u00e9==1",
        "%00",
        "\x00",
    ),
    *(
        "x ; python_version >= 'x'",
        "x==1; extra == 'a'",
        "x==1; 'dev' in dependency_groups",
        "x==1 --hash=md5:a",
    ),
    *("x==1 --global-option=foo", "x==1 --config-settings a=b", "x==1 \\", "--trusted-host h", "--no-index"),
)


@pytest.mark.parametrize("line", ODD)
def test_whatever_a_line_says_is_understood_or_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.txt").write_text(f"{CELERY}{line}")
    found, findings = read(tmp_path, "r.txt")
    assert found or findings.errors
    assert not any(secret in report(findings) for secret in ("u:p@", "a:b@"))
