from __future__ import annotations

import json

import pytest

from celery_fleet import fleet_file
from celery_fleet.__main__ import main


def test_route_says_where_and_why(fleet: fleet_file.Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "demo.tasks.train_model"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "task": "demo.tasks.train_model",
        "queue": "cpu_ml_training",
        "exchange": "cpu_tasks",
        "routing_key": "cpu.ml",
        "pool": "cpu",
        "rule": "rule cpu, word model",
    }


@pytest.mark.parametrize(
    ("arguments", "queue"),
    [
        (["tidy"], "general_background"),
        (["tidy", "--periodic"], "general_scheduled"),
        (["tidy", "--hint", "io"], "io_api_calls"),
        (["tidy", "--hint", "io", "--queue", "io_email_sending"], "io_email_sending"),
    ],
)
def test_route_takes_what_a_publisher_says(
    fleet: fleet_file.Fleet, capsys: pytest.CaptureFixture[str], arguments: list[str], queue: str
) -> None:
    assert main(["route", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["queue"] == queue


def test_route_needs_no_password(fleet: fleet_file.Fleet, tmp_path: object) -> None:
    assert main(["route", "tidy"]) == 0


def test_an_unknown_queue_is_an_error(fleet: fleet_file.Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "tidy", "--queue", "gone"]) == 2
    assert "has no queue `gone`" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["route", "x"], ["verify"]])
def test_a_missing_file_is_an_error_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv("CELERY_FLEET_FILE", "/nowhere/fleet.json")
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("FleetFileError: /nowhere/fleet.json: no such file")
