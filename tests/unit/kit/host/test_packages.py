"""Which packages a host lacks, and which it could not get, by a dpkg and an apt that a test writes."""

import pytest
from fleet.host.packages import missing, policy, unknown


@pytest.fixture
def dpkg(tmp_path, monkeypatch):
    command = tmp_path / "dpkg-query"
    command.write_text(
        "#!/bin/sh\necho 'one 1.2-3 installed'\necho 'gone 1.0 config-files'\n"
        "echo 'virtual  not-installed'\nexit 1\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("package", "there"),
    [
        ("one", True),
        ("one=1.2-3", True),
        ("one=1.2*", True),
        ("one=2*", False),
        ("gone", False),
        ("virtual", False),
        ("never", False),
    ],
)
def test_a_package_is_there_if_it_is_installed_in_the_version_that_is_named(dpkg, package, there):
    assert missing([package]) == ([] if there else [package])


def test_nothing_is_asked_for_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert missing([]) == []
    assert unknown([]) == []
    assert policy([]) == {}


def test_a_package_is_unknown_if_no_list_offers_it(tmp_path, monkeypatch):
    command = tmp_path / "apt-cache"
    command.write_text(
        "#!/bin/sh\nprintf 'one:\\n  Installed: (none)\\n  Candidate: 1.2-3\\n  Version table:\\n'\n"
        "printf 'virtual:\\n  Installed: (none)\\n  Candidate: (none)\\n  Version table:\\n'\n"
        "echo 'N: Unable to locate package never' >&2\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert unknown(["one=1.2*", "virtual", "never"]) == ["virtual", "never"]
    assert policy(["one", "virtual", "never"]) == {
        "one": {"installed": "", "candidate": "1.2-3"},
        "virtual": {"installed": "", "candidate": ""},
    }
