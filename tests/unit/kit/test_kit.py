"""The kit's version: where it is written, and that nothing else says another."""

import json
import tomllib

import pytest
from fleet.kit import installed, is_older, version
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


ORDER = ["0.9.10", "0.10.0-1", "0.10.0-2.1", "0.10.0-10", "0.10.0-rc.1", "0.10.0", "1.0.0", "10.0.0"]


def test_versions_are_compared_as_semantic_ones():
    assert [(a, b) for a in ORDER for b in ORDER if is_older(a, b)] == [
        (a, b) for number, a in enumerate(ORDER) for b in ORDER[number + 1 :]
    ]
    assert not is_older("1.0.0", "1.0.0+build.1")


@pytest.mark.parametrize("other", ["", "1.0", "2", "none", "2.0.0\n", "9" * 50])
def test_what_is_no_version_is_not_compared(other):
    assert not is_older("1.0.0", other)
    assert not is_older(other, "9.0.0")


def test_a_host_has_the_version_that_last_changed_it(tmp_path):
    assert installed(tmp_path) == ""
    (tmp_path / "etc/celery-fleet").mkdir(parents=True)
    (tmp_path / "etc/celery-fleet/kit").write_text("1.2.3\n")
    assert installed(tmp_path) == "1.2.3"
    (tmp_path / "etc/celery-fleet/kit").write_bytes(b"\xff" * 1000)
    assert len(installed(tmp_path)) == 100
