"""The rooms of the package import in one direction, and their sizes stay those of rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "celery_fleet"
ROOMS = ("settings", "publishing", "worker", "scheduler", "operator")

# What a room may use of others. All of them publish; `verify` sends the task that the workers run, and
# `move_in` reads messages as they do.
ALLOWED = {
    "worker": {"publishing"},
    "scheduler": {"publishing", "settings"},
    "operator": {"publishing", "worker.canary", "worker.envelope"},
    "publishing": set[str](),
    "settings": set[str](),
}

# Of the modules that belong to no room, these bring the rooms together.
DOORS = {"__init__", "__main__", "configure"}

# Lines of the one file that is larger: the reader of the whole fleet file.
LARGEST = {"fleet_file.py": 295}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return what a file imports of this package, without the package's name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.partition(".")[2] for name in found if name.startswith("celery_fleet.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.parent.relative_to(PACKAGE).parts[:1]
    for name in imports(path):
        other = name.partition(".")[0]
        if other not in ROOMS:
            assert other not in DOORS or path.stem in DOORS, (
                f"{path.name} imports {name}, which imports the rooms"
            )
        elif not room:
            assert path.stem in DOORS, f"{path.name} belongs to no room and imports {name}"
        elif other != room[0]:
            allowed = ALLOWED[room[0]]
            assert other in allowed or any(name.startswith(each) for each in allowed), f"{path}: {name}"


def test_nothing_is_allowed_that_nobody_uses() -> None:
    for room, allowed in ALLOWED.items():
        used = {name for path in FILES if room in path.parts for name in imports(path)}
        for each in allowed:
            assert any(name.startswith(each) for name in used), f"{room} does not import {each}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_becomes_a_hall(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LARGEST.get(str(path.relative_to(PACKAGE)), 250)
