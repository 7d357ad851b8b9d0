"""What pages say beside their generated tables is true of the code."""

import re

import pytest
import reference
import rights
import verbs
import yaml
from support.fleet_model import ROOT

import docs

DERIVED = {
    name for path in (ROOT / "group_vars/all").glob("*.yml") for name in yaml.safe_load(path.read_text())
}
README = (ROOT / "README.md").read_text()
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SITE = [
    play["ansible.builtin.import_playbook"]
    for play in yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
]


def test_the_readme_says_what_site_yml_runs():
    (row,) = re.findall(
        r"\| \[`ansible-playbook site.yml -i prod`\]\(docs/verbs/site.md\) \| (.*) \|", README
    )
    said = re.findall(rf"\b({'|'.join(verbs.verbs())})\b", row)
    assert [f"{verb}.yml" for verb in said] == SITE


def test_the_readme_has_every_verb():
    assert {*re.findall(r"\]\(docs/verbs/(\w+)\.md\)", README)} == {*verbs.verbs()}


def test_every_user_of_the_broker_is_explained():
    derived = [
        user["name"] for user in rights.topology({**docs.model(), "flower": {"runs": True}}, {})["users"]
    ]
    assert re.findall(r"^\| `(\w+)`", rights.users(docs.model()), re.MULTILINE) == derived


def test_a_user_who_is_not_explained_stops_the_page(monkeypatch):
    monkeypatch.delitem(rights.WHO, "beat")
    with pytest.raises(KeyError, match="beat"):
        rights.users(docs.model())


def variables():
    """Every variable of the fleet that a page names, with the field behind it if there is one."""
    texts = [(path.name, path.read_text()) for path in PAGES]
    texts += [(name, spec.meaning) for name in docs.SPECS for spec in reference.fields(name).values()]
    for page, text in texts:
        for name, field in re.findall(r"`(fleet_[a-z_]+)\b(?:\.(\w+))?", text):
            yield page, name, field


def test_a_variable_that_a_page_names_exists():
    known = {*reference.VARIABLES, *(name for verb in verbs.verbs() for name in verbs.options(verb))}
    known |= {*rights.MEANS, *DERIVED}
    found = list(variables())
    assert len(found) > 50
    assert [each for each in found if each[1] not in known] == []


def test_a_field_that_a_page_names_is_one_of_its_variable():
    for page, name, field in variables():
        fields = {path.split(".")[0] for path in (reference.fields(name) if name in docs.SPECS else ())}
        legal = reference.VARIABLES[name].legal if field else "mapping"
        assert field in ("", *fields) or "mapping" in legal or "{" in legal, f"{page}: {name}.{field}"
