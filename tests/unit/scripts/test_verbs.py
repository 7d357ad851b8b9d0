"""The options that a verb declares are those that its playbook and the tasks of its roles read."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import reference
import verbs
import yaml
from jinja2 import Environment, meta
from support.fleet_model import ROOT


class Every(dict):
    """Filters and tests: Ansible's have other names than Jinja's own, and are not called here."""

    def get(self, name, default=None):
        return str


JINJA = Environment()
JINJA.filters, JINJA.tests = Every(), Every()
# What Ansible evaluates without braces.
BARE = {"when", "that", "until", "failed_when", "changed_when"}
# What Ansible itself defines.
MAGIC = {
    "groups",
    "group_names",
    "hostvars",
    "inventory_hostname",
    "inventory_hostname_short",
    "inventory_dir",
    "item",
    "lookup",
    "now",
    "omit",
    "query",
    "role_path",
}
ROLE = {f"ansible.builtin.{verb}_role" for verb in ("include", "import")}
TASKS = {f"ansible.builtin.{verb}_tasks" for verb in ("include", "import")}


@cache
def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def names(text: str) -> set[str]:
    """The variables of a template."""
    return meta.find_undeclared_variables(JINJA.parse(text)) - JINJA.globals.keys()


def used(node: Any, bare: bool = False) -> set[str]:
    """The variables of every template in a piece of YAML."""
    if isinstance(node, dict):
        return set().union(*(used(value, key in BARE) for key, value in node.items()))
    if isinstance(node, list):
        return set().union(*(used(each, bare) for each in node))
    if isinstance(node, str) and (bare or "{{" in node):
        return names("{{" + node + "}}" if bare else node)
    return set()


def defined(node: Any) -> set[str]:
    """The variables that plays and tasks define themselves."""
    if isinstance(node, list):
        return set().union(*map(defined, node))
    if not isinstance(node, dict):
        return set()
    found = {*node.get("vars", {}), *node.get("ansible.builtin.set_fact", {})}
    found |= {node[key] for key in ("register", "loop_var", "index_var") if key in node}
    return found.union(*map(defined, node.values()))


def reached(
    node: Any, role: str | None = None, seen: set[Path] | None = None
) -> Iterator[tuple[str | None, Any]]:
    """What runs: plays or tasks, and the files of the roles behind them."""
    seen = set() if seen is None else seen
    yield role, node
    stack = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        if not isinstance(each, dict):
            continue
        stack += each.values()
        files = []
        for key in ROLE & each.keys():
            files.append((each[key]["name"], each[key].get("tasks_from", "main")))
        for given in each.get("roles", ()):
            files.append((given["role"], "main"))
        for key in TASKS & each.keys():
            file = each[key] if isinstance(each[key], str) else each[key]["file"]
            stem = file.removesuffix(".yml")
            files += [
                (role, path.stem)
                for path in (ROOT / f"roles/{role}/tasks").glob("*.yml")
                if path.stem == stem or "{{" in stem
            ]
        for name, file in files:
            for path in (ROOT / f"roles/{name}/tasks/{file}.yml", ROOT / f"roles/{name}/handlers/main.yml"):
                if path not in seen and path.exists():
                    seen.add(path)
                    yield from reached(read(path), name, seen)


@cache
def site() -> dict[str, Any]:
    """What the kit's own group_vars define, and those of the lab, for which the demo is."""
    found: dict[str, Any] = {}
    for path in (
        *(ROOT / "group_vars/all").glob("*.yml"),
        *(ROOT / "inventories/lab/group_vars").rglob("*.yml"),
    ):
        found |= read(path)
    return found


@cache
def role_variables() -> dict[str, Any]:
    """What a role defines, or is given by its specs."""
    found: dict[str, Any] = {}
    for path in (ROOT / "roles").glob("*/*/*.yml"):
        if path.parent.name in ("defaults", "vars"):
            found |= read(path) or {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for spec in read(path)["argument_specs"].values():
            found |= dict.fromkeys(spec.get("options", {})) | found
    return found


@cache
def nodes_of(verb: str) -> list[tuple[str | None, Any]]:
    """Everything that a verb runs."""
    return list(reached(verbs.plays(verbs.PLAYBOOKS / f"{verb}.yml")))


def direct(verb: str) -> set[str]:
    """The variables that a verb's plays and tasks name and don't define."""
    nodes = nodes_of(verb)
    found = set().union(*(used(node) for _, node in nodes))
    for role in {role for role, _ in nodes if role}:
        for template in (ROOT / f"roles/{role}/templates").glob("*"):
            found |= names(template.read_text())
    return found - set().union(*(defined(node) for _, node in nodes))


def closure(found: set[str]) -> set[str]:
    """These variables and all that their values name in turn."""
    every, more = set(found), set(found)
    while more:
        more = used([values.get(name) for values in (site(), role_variables()) for name in more]) - every
        every |= more
    return every


def known() -> set[str]:
    """What Ansible, a site or a role defines."""
    return {*MAGIC, *site(), *role_variables(), *reference.VARIABLES}


def options(found: set[str]) -> set[str]:
    """Those of some variables that nobody but a command line can define."""
    return {name for name in found - known() if not name.startswith(("ansible_", "__"))}


@pytest.mark.parametrize("verb", verbs.verbs())
def test_a_verb_declares_the_options_that_it_reads(verb):
    found, declared = direct(verb), verbs.options(verb).keys()
    assert options(found) <= declared
    assert declared <= closure(found)


def test_an_option_that_anything_reads_is_declared_by_some_verb():
    declared = set().union(*(verbs.options(verb) for verb in verbs.verbs()))
    found = options(set().union(*(closure(direct(verb)) for verb in verbs.verbs())))
    assert (
        found - defined([node for verb in verbs.verbs() for _, node in nodes_of(verb)]) == declared - known()
    )


@pytest.mark.parametrize("verb", verbs.verbs())
def test_a_default_is_the_one_that_is_used(verb):
    paths = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "group_vars/all").glob("*.yml")]
    paths += (ROOT / "roles").glob("*/tasks/*.yml")
    text = "\n".join(path.read_text() for path in paths)
    for name, option in verbs.options(verb).items():
        for literal in re.findall(rf"\b{name} *\| *default\((\d+|true|false|'\w+')\)", text):
            assert option["default"] == yaml.safe_load(literal), name


@pytest.mark.parametrize("verb", verbs.verbs())
def test_a_verb_has_a_page_with_its_options(verb):
    page = (ROOT / f"docs/verbs/{verb}.md").read_text()
    assert f"playbooks/{verb}.yml" in page
    assert (f"<!-- generated: options_{verb} -->" in page) == bool(verbs.options(verb))
