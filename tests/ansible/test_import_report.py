"""What the build's import of an application prints is what the kit reads."""

from __future__ import annotations

import json
import os
import pwd
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fleet.host.application import write_variables
from fleet.preflight.periodic import periodic_tasks
from support.fleet_files import PASSWORD, document
from support.fleet_model import ROOT

APPLICATION = """
from celery import Celery
import celery_fleet

app = Celery("shop")
{configure}
app.conf.task_routes = {{"long.*": {{"queue": "io_api_calls", "time_limit": 900}}}}
print("what an application prints")

@app.task(name="shop.report")
def report(): ...

@app.on_after_finalize.connect
def add(sender, **_):
    sender.add_periodic_task(60, report.s(), name="own")
    sender.add_periodic_task({every}, report.s(), name="other")
"""


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    """Imports an application as a build does, and returns what that prints."""
    (tmp_path / "fleet.json").write_text(json.dumps(document(secrets=str(tmp_path))))
    for name in ("client", "verify"):
        (tmp_path / name).write_text(PASSWORD)

    def of(every: float, configure: str = "celery_fleet.configure(app)", **more: object) -> str:
        (tmp_path / "shop.py").write_text(APPLICATION.format(every=every, configure=configure))
        python = tmp_path / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        variables = {"CELERY_FLEET_FILE": str(tmp_path / "fleet.json"), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
        given = {"celery_app": "shop:app", "limits_above_pool": "clamp", "timeout": 60}
        user = pwd.getpwuid(os.getuid()).pw_name
        parameters = {**given, "user": user, "environment": variables, **more}
        report: str = module().import_app(tmp_path, parameters)
        return report

    return of


def module() -> Any:
    return import_module("ansible_collections.celery_fleet.kit.plugins.modules.app_release")


def test_the_periodic_tasks_of_an_application_reach_the_kit(imported: Any) -> None:
    report = imported(30)
    assert json.loads(report)["tasks"] == ["shop.report"]
    assert "long.* (time_limit 900; pool io: 300 s)" in json.loads(report)["warnings"][0]
    (fault,) = periodic_tasks(report, {}, "auto")["faults"]
    assert "(other, own)" in fault
    assert periodic_tasks(report, {}, True)["text"] == "Periodic tasks: 2 of the application (other, own)"


def test_what_cannot_run_ends_the_build(imported: Any) -> None:
    with pytest.raises(module().BuildError, match="beat_schedule 'other': its interval is not above 0"):
        imported(0)


def test_an_application_that_is_never_configured_is_told_so(imported: Any) -> None:
    with pytest.raises(module().BuildError, match=r"must call celery_fleet\.configure\(app\)"):
        imported(30, configure="")


NEEDY = """
import os
from pathlib import Path

key = Path(os.environ["KEY"]).read_bytes()
if os.environ["DATABASE_URL"] != "{url}" or key != b"\\x00\\xff":
    raise ValueError("no connection to " + os.environ["DATABASE_URL"])
celery_fleet.configure(app)
"""


def test_the_import_has_the_secrets_of_the_host_and_shows_none(imported: Any, tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    place.mkdir()
    (place / "io.env").write_text(write_variables({"DATABASE_URL": "postgres://shop:hunter2@db1"}))
    (place / "io-KEY").write_bytes(b"\x00\xff")
    report = imported(30, configure=NEEDY.format(url="postgres://shop:hunter2@db1"), secrets=place)
    assert json.loads(report)["tasks"] == ["shop.report"]
    with pytest.raises(module().BuildError, match=r"no connection to \(a secret\)") as failed:
        imported(30, configure=NEEDY.format(url="another"), secrets=place)
    assert "hunter2" not in str(failed.value)


def test_a_working_directory_that_the_host_lacks_is_named(imported: Any) -> None:
    with pytest.raises(module().BuildError, match="the working directory /nowhere is not on this host"):
        imported(30, working_directory="/nowhere")
