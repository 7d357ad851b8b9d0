"""The module that writes a directory's files, run by Ansible on this machine."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import ROOT


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "secrets"


def run(place: Path, contents: dict[str, str], *options: str, **more: Any) -> tuple[dict[str, Any], str]:
    """Give the module's result, and all that the command printed."""
    mine = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    given = json.dumps({"path": str(place), "contents": contents, "mode": "0640", **mine, **more})
    done = subprocess.run(
        ["ansible", "localhost", "-c", "local", "-m", "celery_fleet.kit.files", "-a", given, *options],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("=> ") + 3 :]), printed


def test_exactly_the_given_files_are_there_and_their_content_is_nowhere_else(place: Path) -> None:
    wanted = {"one": "first secret", "two": "second secret"}
    told, _ = run(place, wanted, "--check")
    assert told["changed"] and told["written"] == ["one", "two"]
    assert not place.exists()

    told, printed = run(place, wanted, "-vvv")
    assert told["changed"]
    assert "secret" not in printed.replace("secrets", "")
    assert {path.name: path.read_text() for path in place.iterdir()} == wanted
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o640}
    told, _ = run(place, wanted)
    assert not told["changed"]

    (place / "two").chmod(0o644)
    (place / "other").write_text("mine")
    told, _ = run(place, {**wanted, "one": "a new secret"})
    assert (told["changed"], told["written"], told["removed"]) == (True, ["one"], [])
    assert ((place / "two").stat().st_mode & 0o777, (place / "other").read_text()) == (0o640, "mine")
    told, _ = run(place, {"one": "a new secret"}, exact=True)
    assert told["removed"] == ["other", "two"]
    assert [path.name for path in place.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["../two", ".."])
def test_a_name_that_leads_elsewhere_is_refused(place: Path, name: str) -> None:
    told, _ = run(place, {name: "x", "one": "y"})
    assert "which is no name of a file" in told["msg"]
    assert not place.exists()
