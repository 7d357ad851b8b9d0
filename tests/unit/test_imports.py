"""Who may import whom, read from the imports as they stand."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("molecule/**/*.py")])
MODULES = {path.stem for path in TESTS if path.stem.startswith("test_")}

# A folder, and the packages that nothing in it may import.
WALLS = {
    "celery_fleet": {"ansible", "ansible_collections", "fleet", "support", "trials"},
    "plugins/module_utils": {"celery", "kombu", "celery_fleet", "support", "trials"},
    "scripts": {"bench", "molecule", "support", "trials"},
    "tests/support": {"bench", "molecule", "trials"},
    "trials": {"bench", "molecule", "scripts"},
}


def imported(path):
    """The dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_test_imports_a_test():
    taken = {
        str(path.relative_to(ROOT)): sorted(
            name for name in imported(path) if MODULES.intersection(name.split("."))
        )
        for path in TESTS
    }
    assert {path: names for path, names in taken.items() if names} == {}


@pytest.mark.parametrize("folder", WALLS)
def test_imports_run_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    taken = {
        (path.name, name) for path in files for name in imported(path) if name.split(".")[0] in WALLS[folder]
    }
    assert taken == set()
