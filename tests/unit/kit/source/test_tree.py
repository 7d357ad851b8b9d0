"""Which files of a tree go to the hosts."""

from __future__ import annotations

from pathlib import Path

from fleet.findings import Findings
from fleet.source.tree import list_tree
from support.broken_sources import git, repository, write

PLAIN = {
    "shop/app.py": "",
    "shop/__pycache__/app.pyc": "",
    ".env": "SECRET=1",
    ".env.example": "SECRET=",
    ".env.production": "SECRET=1",
    "venv/pyvenv.cfg": "",
    "venv/lib/thing.py": "",
    "my-env/pyvenv.cfg": "",
    "env/settings.py": "",
    "node_modules/a/index.js": "",
    ".ssh/id_ed25519": "",
    "media/upload.jpg": "",
}


def chosen(
    root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> tuple[set[str], set[str]]:
    findings = Findings()
    tree = list_tree(root, include, exclude, findings)
    assert not list(findings)
    return set(tree.paths), set(tree.named)


def test_without_git_what_tools_and_people_leave_in_a_tree_stays_out_and_is_named(tmp_path: Path) -> None:
    paths, left_out = chosen(write(tmp_path / "shop", PLAIN))
    assert paths == {"shop/app.py", ".env.example", "env/settings.py", "media/upload.jpg"}
    assert left_out == {".env", ".env.production", "venv/", "my-env/", "node_modules/", ".ssh/"}


def test_in_a_checkout_what_git_ignores_stays_out_and_is_named(tmp_path: Path) -> None:
    root = repository(
        tmp_path / "shop", {"shop/app.py": "", ".gitignore": "media/\n*.log\nbuilt/\n.env\n", "gone.py": ""}
    )
    write(root, PLAIN | {"new.py": "", "a.log": "", "built/app.js": ""})
    (root / "gone.py").unlink()
    paths, left_out = chosen(root)
    assert paths == {"shop/app.py", ".gitignore", ".env.example", "env/settings.py", "new.py"}
    assert {"media/", "a.log", "built/", ".env", "venv/lib/thing.py"} <= left_out
    assert not any("__pycache__" in name for name in left_out)


def test_ignored_files_go_if_the_site_says_so(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"app.py": "", ".gitignore": "built/\n.env*\n"})
    write(root, {"built/app.js": "", "built/deep/b.js": "", ".env": "", "note.txt": ""})
    paths, left_out = chosen(root, include=("built",), exclude=("*.txt", ".gitignore"))
    assert paths == {"app.py", "built/app.js", "built/deep/b.js"}
    assert left_out == {".env", "note.txt", ".gitignore"}


def test_an_application_below_the_root_of_a_checkout_is_listed_alone(tmp_path: Path) -> None:
    root = repository(
        tmp_path / "mono", {"backend/app.py": "", "frontend/app.js": "", "backend/.gitignore": "x\n"}
    )
    write(root, {"backend/x": "", "backend/y": ""})
    assert chosen(root / "backend") == ({"app.py", ".gitignore", "y"}, {"x"})


def test_a_directory_that_git_ignores_is_read_as_it_is(tmp_path: Path) -> None:
    root = repository(tmp_path / "site", {".gitignore": "build/\n"})
    write(root, {"build/app.py": ""})
    assert chosen(root / "build") == ({"app.py"}, set())


def test_a_submodule_is_part_of_its_checkout(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"lib.py": "", ".gitignore": "*.log\n"})
    root = repository(tmp_path / "outer", {"app.py": ""})
    git(root, "submodule", "--quiet", "add", str(inner), "inner")
    write(root, {"inner/new.py": "", "inner/a.log": ""})
    paths, left_out = chosen(root)
    assert paths == {"app.py", ".gitmodules", "inner/lib.py", "inner/.gitignore", "inner/new.py"}
    assert left_out == {"inner/a.log"}


def test_a_shallow_checkout_is_a_checkout(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"app.py": ""})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{root}", "shallow")
    assert chosen(tmp_path / "shallow") == ({"app.py"}, set())


def test_a_hook_s_environment_leads_to_no_other_repository(tmp_path: Path, monkeypatch) -> None:
    root = repository(tmp_path / "shop", {"app.py": ""})
    other = repository(tmp_path / "other", {"other.py": ""})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert chosen(root) == ({"app.py"}, set())


def test_a_checkout_s_configuration_runs_nothing(tmp_path: Path) -> None:
    root = repository(tmp_path / "shop", {"app.py": ""})
    program = write(tmp_path, {"monitor": f"#!/bin/sh\ntouch {tmp_path}/ran\n"}) / "monitor"
    program.chmod(0o755)
    git(root, "config", "core.fsmonitor", str(program))
    assert chosen(root) == ({"app.py"}, set())
    assert not (tmp_path / "ran").exists()
