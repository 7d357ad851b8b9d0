"""A process of the application that is killed at any of its changes, or without power, leaves whole files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from celery.worker import state
from support.kills import repeated

from celery_fleet.operator.dead_letters.commands import _new_file
from celery_fleet.state_file import StateFile
from celery_fleet.worker.revoked import MEMORY_FILE, MEMORY_VARIABLE, Revocations


def test_what_a_pool_s_workers_keep_of_cancelled_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "state"
    monkeypatch.setenv(MEMORY_VARIABLE, str(place))
    memory = place / MEMORY_FILE
    monkeypatch.setattr(state, "revoked", type(state.revoked)())

    def work() -> None:
        state.revoked.clear()
        worker = Revocations(str(tmp_path / "fleet.json"), None)
        state.revoked.update(["new"])
        worker.obey([])

    def kept() -> list[str]:
        return sorted(json.loads(memory.read_text()))

    def check(_: bool) -> None:
        assert kept() in (["old"], ["new", "old"])

    def begin() -> None:
        state.revoked.clear()
        memory.write_text('["old"]')

    repeated(place, work, begin, check, kept)


def test_what_a_worker_says_of_itself(tmp_path: Path) -> None:
    place = tmp_path / "run"
    file = place / "state.json"

    def said() -> str:
        return str(json.loads(file.read_text())["state"])

    def check(lost: bool) -> None:
        # It lies in memory, and is gone without power.
        if file.exists() and not lost:
            assert said() == "consuming"

    repeated(place, lambda: StateFile(file).write({"state": "consuming"}), lambda: None, check, said)


def test_an_export_of_dead_letters(tmp_path: Path) -> None:
    place = tmp_path / "exports"
    file = place / "dead"

    def work() -> None:
        if not file.exists():
            with _new_file(str(file)) as lines:
                lines.write('{"key": "1"}\n')

    def check(_: bool) -> None:
        assert not file.exists() or file.read_text() == '{"key": "1"}\n'

    repeated(place, work, lambda: None, check, file.read_text)
