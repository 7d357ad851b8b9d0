from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from celery_fleet.__main__ import main
from celery_fleet.fleet import Fleet


def test_route_says_where_and_by_which_rule(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "demo.tasks.train_model"]) == 0
    assert capsys.readouterr().out == (
        "demo.tasks.train_model → cpu_ml_training (pool cpu)\n"
        "by rule cpu, word train, branch model; exchange cpu_tasks, routing key cpu.ml\n"
    )


def test_route_answers_machines(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--json", "demo.tasks.train_model"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "task": "demo.tasks.train_model",
        "queue": "cpu_ml_training",
        "exchange": "cpu_tasks",
        "routing_key": "cpu.ml",
        "pool": "cpu",
        "rule": "rule cpu, word train, branch model",
    }


@pytest.mark.parametrize(
    ("arguments", "queue", "rule"),
    [
        (["tidy"], "general_background", "default"),
        (["tidy", "--periodic"], "general_scheduled", "periodic"),
        (["tidy", "--hint", "io"], "io_api_calls", "hint io"),
        (["tidy", "--hint", "gpu"], "general_background", "unknown hint gpu"),
        (["tidy", "--hint", "io", "--queue", "io_email_sending"], "io_email_sending", "explicit queue"),
        (["celery.chord_unlock"], "general_background", "Celery's own task"),
        (["merge_tables"], "memory_large_imports", "rule memory, word merge"),
    ],
)
def test_route_takes_what_a_publisher_says(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], arguments: list[str], queue: str, rule: str
) -> None:
    assert main(["route", *arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["queue"], answer["rule"]) == (queue, rule)
    assert main(["route", *arguments]) == 0
    where, why = capsys.readouterr().out.splitlines()
    assert where.startswith(f"{arguments[0]} → {queue} (pool ")
    assert why.startswith(f"by {rule}; exchange ")


def test_route_knows_the_names_that_the_application_has(
    contents: dict[str, Any], write: Callable[[], Fleet], capsys: pytest.CaptureFixture[str]
) -> None:
    contents["routing"]["aliases"] = {"default": "io_api_calls"}
    write()
    assert main(["route", "tidy", "--queue", "default"]) == 0
    assert capsys.readouterr().out.startswith("tidy → io_api_calls (pool io)\nby alias default; ")


def test_route_follows_the_rules_of_the_site(
    contents: dict[str, Any], write: Callable[[], Fleet], capsys: pytest.CaptureFixture[str]
) -> None:
    contents["routing"]["site_rules"] = [
        {"name": "invoices", "task": "billing.*", "queue": "general_scheduled"},
        {"name": "reports", "words": ["report"], "match": "path", "queue": "memory_aggregations"},
    ]
    write()
    for task, rule in {
        "billing.send_email": "site rule invoices, task billing.*",
        "report.jobs.run": "site rule reports, word report",
    }.items():
        assert main(["route", task]) == 0
        assert f"by {rule};" in capsys.readouterr().out


def test_route_needs_no_password(fleet: Fleet, tmp_path: object) -> None:
    assert main(["route", "tidy"]) == 0


def test_an_unknown_queue_is_an_error(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
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
