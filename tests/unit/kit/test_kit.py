"""The kit's version: where it is written, and that nothing else says another."""

import json
import tomllib

import pytest
from fleet.kit import version
from support.fleet_model import ROOT


def test_a_clone_and_an_installed_collection_say_which_version_they_are(tmp_path):
    (tmp_path / "galaxy.yml").write_text("---\nname: kit\nversion: 1.2.3\n")
    assert version(tmp_path) == "1.2.3"
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": "1.2.4"}}))
    assert version(tmp_path) == "1.2.4"


def test_a_kit_without_a_version_is_refused(tmp_path):
    (tmp_path / "galaxy.yml").write_text("---\nname: kit\n")
    with pytest.raises(ValueError, match="says no version"):
        version(tmp_path)


def test_the_package_has_the_kit_s_version():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package["version"] == version(ROOT)


def test_the_changelog_begins_with_the_version_and_says_whom_each_entry_affects():
    sections = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1:]
    assert sections[0].splitlines()[0] == version(ROOT)
    entries = [line for section in sections for line in section.splitlines() if line.startswith("- ")]
    assert [entry for entry in entries if not entry.startswith("- This affects you if ")] == []
