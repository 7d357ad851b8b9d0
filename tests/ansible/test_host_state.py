"""The module that puts a host's files in place, run by Ansible on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import ansible


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "secrets"


def run(arguments: dict[str, Any], *options: str) -> tuple[dict[str, Any], str]:
    """Return the module's result, and all that the command printed."""
    given = ["-c", "local", "-m", "celery_fleet.kit.host_state", "-a", json.dumps(arguments), *options]
    form = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"}
    done = ansible("ansible", "localhost", *given, **form)
    printed = done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("=> ") + 3 :]), printed


def secrets(place: Path, **contents: str) -> dict[str, Any]:
    items = [{"directory": str(place), "mode": "0750", "exact": True}]
    items += [{"file": f"{place}/{name}", "secret": name, "mode": "0640"} for name in contents]
    return {"items": items, "secrets": contents}


def test_exactly_the_given_secrets_are_there_and_their_content_is_nowhere_else(place: Path) -> None:
    wanted = secrets(place, one="first password", two="second password")
    told, _ = run(wanted, "--check")
    assert told["changed"]
    assert told["changes"].keys() == {str(place), f"{place}/one", f"{place}/two"}
    assert not place.exists()

    told, printed = run(wanted, "-vvv", "--diff")
    assert told["changed"]
    assert "password" not in printed
    assert {path.name: path.read_text() for path in place.iterdir()} == wanted["secrets"]
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o640}
    told, _ = run(wanted)
    assert not told["changed"]

    (place / "two").chmod(0o644)
    told, printed = run(secrets(place, two="second password"), "-vvv", "--diff")
    assert told["changes"] == {f"{place}/one": ["surplus"], f"{place}/two": ["mode"]}
    assert "password" not in printed
    assert [path.name for path in place.iterdir()] == ["two"]


def test_a_template_is_rendered_on_the_controller_and_a_source_is_copied(tmp_path: Path) -> None:
    (tmp_path / "unit.j2").write_text(
        "# {{ ansible_managed }}\n{% if true %}\nhost={{ inventory_hostname }}\n{% endif %}\n"
    )
    (tmp_path / "plain").write_text("{{ no expression }}\n")
    items = [
        {"file": f"{tmp_path}/unit", "template": f"{tmp_path}/unit.j2", "mode": "0644"},
        {"file": f"{tmp_path}/copy", "source": f"{tmp_path}/plain", "mode": "0644"},
    ]
    told, _ = run({"items": items, "packages": ["no-such-package"], "paths": [f"{tmp_path}/unit"]})
    assert (tmp_path / "unit").read_text() == "# Ansible managed\nhost=localhost\n"
    assert (tmp_path / "copy").read_text() == "{{ no expression }}\n"
    assert told["missing_packages"] == ["no-such-package"]
    assert told["present"] == {f"{tmp_path}/unit": False}


def test_what_a_run_did_before_it_failed_is_told(tmp_path: Path) -> None:
    items = [
        {"file": f"{tmp_path}/one", "content": "x", "mode": "0644"},
        {"file": f"{tmp_path}/no/two", "content": "x", "mode": "0644"},
    ]
    told, _ = run({"items": items})
    assert "its directory is missing" in told["msg"]
    assert told["changes"][f"{tmp_path}/one"] == ["missing"]
