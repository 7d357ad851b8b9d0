"""The rooms of the kit's code: imports run one way, and what runs on hosts needs only Python."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import fleet
import pytest

FLEET = Path(fleet.__file__).parent


def imports(path):
    """Return the modules that a file imports: of the kit as paths of parts, of others by their first name."""
    package = path.relative_to(FLEET).parts[:-1]
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            names = [()] if node.module else [(alias.name,) for alias in node.names]
            ours |= {tuple(filter(None, (*base, *name))) for name in names}
    return ours, others


FILES = {path.relative_to(FLEET).with_suffix("").parts: imports(path) for path in FLEET.rglob("*.py")}


def test_no_file_imports_itself_over_others():
    TopologicalSorter({file: ours for file, (ours, _) in FILES.items()}).prepare()


def test_no_room_imports_itself_over_others():
    rooms = {}
    for file, (ours, _) in FILES.items():
        rooms.setdefault(file[0], set()).update(other[0] for other in ours if other[0] != file[0])
    TopologicalSorter(rooms).prepare()


@pytest.mark.parametrize("file", [file for file in FILES if file[0] == "host"], ids="/".join)
def test_what_runs_on_hosts_imports_the_standard_library_only(file):
    ours, others = FILES[file]
    assert {other[0] for other in ours} <= {"host"}
    assert others <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("file", [file for file in FILES if file[0] != "host"], ids="/".join)
def test_the_kit_imports_neither_ansible_nor_celery(file):
    # The secrets of a site, its measured figures and compose files are YAML, its lock is read by packaging's
    # and pip's parsers and certificates by Ansible's own library, on the controller; a migration speaks
    # AMQP, on the broker's host.
    allowed = {
        "files/secret_file": {"yaml"},
        "broker/client": {"amqp"},
        "certificates": {"cryptography"},
        "lock/fetch": {"packaging", "pip"},
        "lock/pylock": {"packaging"},
        "preflight/python": {"packaging"},
        "lock/requirement": {"packaging"},
        "lock/requirements_file": {"packaging", "pip"},
        "lock/types": {"packaging"},
        "tune/layer": {"yaml"},
        "units/formats": {"yaml"},
    }.get("/".join(file), set())
    assert FILES[file][1] <= set(sys.stdlib_module_names) | allowed
