"""Revisions of repositories: tags, branches, commits, submodules, and what is fetched of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fleet.source.git import Access, Revision, fetched, reached
from fleet.source.repository import GitError
from support.broken_sources import git, repository, write


def revision(url: str | Path, version: str, cache: Path) -> Revision:
    with reached(Access()) as environment:
        return fetched(str(url), version, cache, environment)


def contents(found: Revision, below: str = "") -> dict[str, str]:
    return {entry.path: entry.link or entry.data.decode() for entry in found.files(below, "src")}


def test_a_revision_gives_the_files_of_that_revision(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"shop/app.py": "1", "run": "#!/bin/sh"})
    (root / "run").chmod(0o755)
    (root / "latest").symlink_to("shop/app.py")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=second")
    git(root, "tag", "--annotate", "v1", "--message=first")
    commit = git(root, "rev-parse", "HEAD")
    first = revision(root, "v1", tmp_path / "cache")
    assert first.commit == commit
    assert contents(first) == {"src/shop/app.py": "1", "src/run": "#!/bin/sh", "src/latest": "shop/app.py"}
    assert [entry.path for entry in first.files("", "src") if entry.executable] == ["src/run"]

    write(root, {"shop/app.py": "2"})
    git(root, "commit", "--quiet", "--all", "--message=third")
    assert contents(revision(root, "main", tmp_path / "cache"))["src/shop/app.py"] == "2"
    assert contents(revision(root, commit, tmp_path / "cache")) == contents(first)
    assert contents(revision(root, commit[:9], tmp_path / "cache")) == contents(first)
    assert contents(revision(root, "main", tmp_path / "cache"), "shop") == {"src/app.py": "2"}
    with pytest.raises(GitError, match="single revision"):
        revision(root, "v9", tmp_path / "cache")


def test_a_moved_tag_and_branch_are_followed_and_a_known_commit_needs_no_server(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"a": "1"})
    git(root, "tag", "v1")
    commit = git(root, "rev-parse", "HEAD")
    assert contents(revision(root, "v1", tmp_path / "cache")) == {"src/a": "1"}
    write(root, {"a": "2"})
    git(root, "commit", "--quiet", "--all", "--message=second")
    git(root, "tag", "--force", "v1")
    assert contents(revision(root, "v1", tmp_path / "cache")) == {"src/a": "2"}
    shutil.rmtree(root)
    assert contents(revision(root, commit, tmp_path / "cache")) == {"src/a": "1"}


def test_only_the_revision_is_fetched_and_not_its_history(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"a": "1"})
    write(root, {"a": "2"})
    git(root, "commit", "--quiet", "--all", "--message=second")
    found = revision(f"file://{root}", "main", tmp_path / "cache")
    assert git(found.mirror, "rev-list", "--count", found.commit) == "1"


def test_what_a_killed_fetch_left_locked_stops_no_other(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"a": "1"})
    mirror = revision(f"file://{root}", "main", tmp_path / "cache").mirror
    write(root, {"a": "2"})
    git(root, "commit", "--quiet", "--all", "--message=second")
    for name in ("shallow.lock", "config.lock", "refs/heads/main.lock"):
        (mirror / name).touch()
    assert contents(revision(f"file://{root}", "main", tmp_path / "cache")) == {"src/a": "2"}


def test_a_mirror_that_was_made_in_part_is_completed(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"a": "1"})
    mirror = revision(root, "main", tmp_path / "cache").mirror
    assert git(mirror, "config", "core.fsync") == "all"
    for part in ("objects", "refs", "config"):
        (shutil.rmtree if (mirror / part).is_dir() else os.remove)(mirror / part)
        assert contents(revision(root, "main", tmp_path / "cache")) == {"src/a": "1"}


@pytest.mark.parametrize("url", ["absolute", "../inner"])
def test_submodules_are_part_of_a_revision(tmp_path: Path, url: str) -> None:
    deep = repository(tmp_path / "deep", {"deep.py": "1"})
    inner = repository(tmp_path / "inner", {"lib.py": "1"})
    git(inner, "submodule", "--quiet", "add", str(deep), "deep")
    git(inner, "commit", "--quiet", "--message=second")
    root = repository(tmp_path / "outer", {"app.py": "1"})
    git(root, "submodule", "--quiet", "add", str(inner), "vendor/inner")
    if url != "absolute":
        git(root, "config", "--file", ".gitmodules", "submodule.vendor/inner.url", url)
        git(root, "add", ".gitmodules")
    git(root, "commit", "--quiet", "--message=second")
    write(inner, {"lib.py": "2"})
    git(inner, "commit", "--quiet", "--all", "--message=third")
    found = contents(revision(root, "main", tmp_path / "cache"))
    assert {path for path in found if not path.endswith(".gitmodules")} == {
        "src/app.py",
        "src/vendor/inner/lib.py",
        "src/vendor/inner/deep/deep.py",
    }
    assert found["src/vendor/inner/lib.py"] == "1", "the revision that the repository names"


@pytest.mark.parametrize("url", ["/etc", "file:///etc", "ext::sh -c id", "--upload-pack=id"])
def test_a_submodule_leads_neither_to_files_of_the_controller_nor_to_a_command(
    tmp_path: Path, url: str
) -> None:
    root = repository(
        tmp_path / "shop", {"a": "1", ".gitmodules": f'[submodule "x"]\npath = x\nurl = "{url}"\n'}
    )
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
    git(root, "commit", "--quiet", "--message=second")
    found = revision(root, "main", tmp_path / "cache")
    elsewhere = Revision(found.mirror, found.commit, found.environment, "https://git.example.org/shop.git")
    with pytest.raises(GitError, match="only https and ssh are followed"):
        elsewhere.files("", "src")
