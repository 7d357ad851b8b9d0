"""What a release is named after, and what may go into one."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from fleet.release import (
    Entry,
    ReleaseError,
    archive,
    release_id,
    wheel_platforms,
)
from fleet.source.tree import from_directory


def tree(root: Path) -> Path:
    (root / "shop").mkdir(parents=True)
    (root / "shop" / "app.py").write_text("app = 1\n")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "latest").symlink_to("shop/app.py")
    return root


def test_the_name_depends_on_the_content_and_on_nothing_else(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "app.pyc").write_bytes(b"x")
    (second / ".git").mkdir()
    (second / ".git" / "HEAD").write_text("x")
    os.utime(second / "run", (1, 1))
    one, two = from_directory(first, "src"), from_directory(second, "src")
    assert release_id("shop", one, "python3") == release_id("shop", reversed(two), "python3")
    archive(one, tmp_path / "one.tar.gz")
    archive(two, tmp_path / "two.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        [Entry("src/a", b"2")],
        [Entry("src/b", b"1")],
        [Entry("src/a", b"1", executable=True)],
        [Entry("src/a", b"", link="1")],
        [Entry("src/a", b"1"), Entry("src/b", b"")],
    ],
)
def test_every_change_gives_another_name(changed: list[Entry]) -> None:
    assert release_id("shop", changed, "python3") != release_id("shop", [Entry("src/a", b"1")], "python3")


def test_another_interpreter_gives_another_name() -> None:
    assert release_id("shop", [], "python3") != release_id("shop", [], "python3.13")


@pytest.mark.parametrize("label", ["1.4.2+local.1", "feature/odd name", "v1", "--x--", "a" * 80])
def test_the_name_fits_a_unit_instance(label: str) -> None:
    name = release_id(label, [], "python3")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
    assert not name.startswith("-")
    assert len(name) <= 24 + 13


def test_the_archive_keeps_modes_and_links(tmp_path: Path) -> None:
    archive(from_directory(tree(tmp_path / "a"), "src"), tmp_path / "x.tar.gz")
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        members = {member.name: member for member in tar}
    assert members["src/run"].mode == 0o755
    assert members["src/shop/app.py"].mode == 0o644
    assert members["src/latest"].linkname == "shop/app.py"
    assert {member.mtime for member in members.values()} == {0}


def test_wheels_of_an_older_c_library_fit_a_newer_host() -> None:
    platforms = wheel_platforms("x86_64", "2.36")
    assert platforms[0] == "manylinux_2_36_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} < set(platforms)
    assert "manylinux1_aarch64" not in wheel_platforms("aarch64", "2.36")


@pytest.mark.parametrize("glibc", ["", "2", "2.x", "musl-1.2.4", "1.2.4"])
def test_no_wheels_are_looked_for_without_glibc(glibc: str) -> None:
    with pytest.raises(ReleaseError, match="is not glibc"):
        wheel_platforms("x86_64", glibc)
