"""What the verb `logs` shows of hosts' journals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.celery_fleet.kit.plugins.action import worker_logs
from ansible_collections.celery_fleet.kit.plugins.action.worker_logs import ActionModule
from ansible_collections.celery_fleet.kit.plugins.filter.logs import logs_text
from support.played_action import PlayedModule


def entry(seconds: float, text: str = "a line", pool: str = "io") -> dict[str, Any]:
    return {"time": int(seconds * 1e6), "unit": "u", "pool": pool, "priority": 6, "text": text}


def test_the_entries_of_all_hosts_are_merged_by_time() -> None:
    hosts = {
        "io1": {"entries": [entry(1, "first"), entry(3.25, "third")]},
        "cpu10": {"entries": [entry(2, "[2026-11-30 10:00:00,123: INFO/MainProcess] second", "cpu")]},
        "away": {"unreachable": True},
        "never": None,
    }
    assert logs_text(hosts, 100) == [
        "1970-01-01 00:00:01.000 io1    io        first",
        "1970-01-01 00:00:02.000 cpu10  cpu       [INFO/MainProcess] second",
        "1970-01-01 00:00:03.250 io1    io        third",
        "away did not answer",
        "never did not answer",
    ]


def test_earlier_entries_are_said_to_be_left_out() -> None:
    shown = logs_text({"a": {"entries": [entry(1), entry(2)]}, "b": {"entries": [entry(3), entry(4)]}}, 2)
    assert shown[0] == "the last 2 entries; -e logs_lines=… shows more"
    assert [line[18] for line in shown[1:]] == ["3", "4"]
    assert logs_text({"a": {"entries": []}}, 2) == ["nothing of it is in these journals"]


def test_what_a_task_wrote_is_no_entry_of_another_host_and_moves_no_cursor() -> None:
    text = "\x1b[2J\x1b]0;title\x07a\rb\n1970-01-01 00:00:02.000 io9    io        forged\u202e\n"
    [shown] = logs_text({"io1": {"entries": [entry(1, text)]}}, 9)
    assert shown.splitlines() == [
        "1970-01-01 00:00:01.000 io1  io        a",
        "    | b",
        "    | 1970-01-01 00:00:02.000 io9    io        forged",
    ]
    assert "\x1b" not in shown


# Ansible has no types, so its classes are of any.
class Action(PlayedModule, ActionModule):  # type: ignore[misc]
    """The action with a module that the test plays."""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown."""
    shown: list[str] = []
    monkeypatch.setattr(worker_logs.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(worker_logs, "Display", lambda: SimpleNamespace(display=shown.append))
    return shown


def test_what_comes_is_shown_until_the_journal_can_not_be_read(lines: list[str]) -> None:
    action = Action(
        {"pools": ["io"], "after": "c1"},
        {"entries": [entry(1), entry(2, "\x1b[2Jb")], "cursor": "c3"},
        {"entries": [], "cursor": "c3"},
        {"failed": True, "msg": "away"},
    )
    result = action.run(task_vars={"inventory_hostname": "io1", "ansible_play_hosts_all": ["io1", "memory1"]})
    assert lines == [
        "1970-01-01 00:00:01.000 io1      io        a line",
        "1970-01-01 00:00:02.000 io1      io        b",
    ]
    assert [each["after"] for each in action.asked] == ["c1", "c3", "c3"]
    assert result["failed"]


def test_without_a_place_the_journal_is_read_once(lines: list[str]) -> None:
    action = Action({"pools": ["io"]}, {"entries": [entry(1)], "cursor": "c1"})
    assert action.run(task_vars={"inventory_hostname": "io1"})["entries"] == [entry(1)]
    assert (len(action.asked), lines) == (1, [])
