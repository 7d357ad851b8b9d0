"""What the build's import of an application prints is what the kit reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fleet.preflight.periodic import periodic_tasks
from support.fleet_files import PASSWORD, document
from support.fleet_model import ROOT

APPLICATION = """
from celery import Celery
import celery_fleet

app = Celery("shop")
celery_fleet.configure(app)
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

    def of(every: float) -> str:
        (tmp_path / "shop.py").write_text(APPLICATION.format(every=every))
        variables = {"CELERY_FLEET_FILE": str(tmp_path / "fleet.json"), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
        printed = subprocess.run(
            [sys.executable, "-c", module().IMPORT, "shop:app"],
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            text=True,
        )
        return printed.stdout

    return of


def module() -> Any:
    return import_module("ansible_collections.celery_fleet.kit.plugins.modules.app_release")


def test_the_periodic_tasks_of_an_application_reach_the_kit(imported: Any) -> None:
    report = module().read_report(imported(30))
    assert "shop.report" in json.loads(report)["tasks"]
    (fault,) = periodic_tasks(report, {}, "auto")["faults"]
    assert "(other, own)" in fault
    assert periodic_tasks(report, {}, True)["text"] == "Periodic tasks: 2 of the application (other, own)"


def test_what_cannot_run_ends_the_build(imported: Any) -> None:
    with pytest.raises(module().BuildError, match="beat_schedule 'other': its interval is not above 0"):
        module().read_report(imported(0))
