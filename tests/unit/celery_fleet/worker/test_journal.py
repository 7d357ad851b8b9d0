from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from celery_fleet.worker.journal import SOCKET, Journal


def test_an_entry_has_its_fields_in_the_journals_own_form(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        Journal(path).write("done", failed=True, TASK_ID="4711", TASK_NAME="a\nb")
        assert journal.recv(4096) == (
            b"MESSAGE=done\nPRIORITY=3\nTASK_ID=4711\nTASK_NAME\n\x03\0\0\0\0\0\0\0a\nb\n"
        )


@pytest.mark.parametrize("path", [None, "/nowhere/journal"])
def test_without_a_journal_it_is_a_line_of_the_log(
    path: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Journal(path).write("done", failed=False, TASK_ID="4711", STATE="SUCCESS")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "done TASK_ID=4711 STATE=SUCCESS")


def test_only_a_process_whose_output_goes_to_the_journal_writes_there() -> None:
    assert Journal.from_environment({"JOURNAL_STREAM": "8:1234"})._path == SOCKET
    assert Journal.from_environment({})._path is None
