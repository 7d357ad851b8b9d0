"""The journal of a host, read with a journalctl that the test plays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet.host.journal import LONGEST, JournalError, Query, entry, follow, read

Script = Callable[[str], Path]
FORGED = "celery-fleet-io@r1_0a1b2c3d_1.service"


def record(time: int, text: object = "a line", **fields: object) -> dict[str, Any]:
    """Return an entry as journalctl writes it."""
    return {
        "__REALTIME_TIMESTAMP": str(time),
        "__CURSOR": f"c{time}",
        "MESSAGE": text,
        "PRIORITY": "6",
    } | fields


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return what puts a script in the place of journalctl, which notes its arguments in a file."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(body: str) -> Path:
        program = tmp_path / "journalctl"
        program.write_text(f'#!/bin/sh\necho "$TZ $*" >> {tmp_path}/asked\n{body}\n')
        program.chmod(0o755)
        return tmp_path / "asked"

    return write


def printed(*records: dict[str, Any]) -> str:
    """Return the shell's words that print entries."""
    # By one call, so that they come at once.
    return "printf '%s\\n' " + " ".join(f"'{json.dumps(each)}'" for each in records)


@pytest.mark.parametrize(
    ("query", "found", "not_found"),
    [
        (Query(ids=["abc-1"]), ["Task shop.mail.send[abc-1] received"], ["x[abc-12]", "x[0-abc-1]"]),
        (
            Query(tasks=["shop.mail.*"]),
            ["Task shop.mail.send[1] ended", "shop.mail.to.all"],
            ["my.shop.mail.send"],
        ),
        (
            Query(tasks=["shop.send"]),
            ["shop.send[1]"],
            ["shop.sender[1]", "shop.send.all[1]", "shop_send[1]"],
        ),
        (Query(ids=["1"], tasks=["a.?"]), ["x[1]", "a.b[2]"], ["a.bc[2]", "x[2]"]),
    ],
)
def test_a_task_is_meant_whole(query: Query, found: list[str], not_found: list[str]) -> None:
    [expression] = [each for each in query.arguments() if each.startswith("--grep=")]
    pattern = re.compile(expression.removeprefix("--grep="))
    assert all(pattern.search(text) for text in found)
    assert not any(pattern.search(text) for text in not_found)


def test_a_query_is_of_the_fleet_s_units_only() -> None:
    assert "--unit=celery-fleet-*" in Query().arguments()
    query = Query(pools=["io", "cpu"], states=["FAILURE", "RETRY"], earliest="-1h", latest="now")
    arguments = query.arguments()
    assert [each for each in arguments if each.startswith("--unit")] == [
        "--unit=celery-fleet-io@*",
        "--unit=celery-fleet-cpu@*",
    ]
    assert arguments[-4:] == ["--since=-1h", "--until=now", "STATE=FAILURE", "STATE=RETRY"]
    assert not any("grep" in each for each in arguments)


def test_an_entry_is_what_a_person_needs_of_a_record() -> None:
    of_systemd = entry(record(7, "Started.", _SYSTEMD_UNIT="init.scope", UNIT=FORGED))
    assert of_systemd == {"time": 7, "unit": FORGED, "pool": "io", "priority": 6, "text": "Started."}
    assert entry(record(1, _SYSTEMD_UNIT="celery-fleet-beat.service"))["pool"] == "beat"
    assert entry(record(1, list(b"caf\xc3\xa9 \xff")))["text"] == "café \ufffd"
    assert entry(record(1, ["twice", "given"], PRIORITY=None))["text"] == "twice"
    assert entry(record(1, None))["text"] == ""
    assert entry(record(1, "x" * LONGEST + "y"))["text"] == "x" * LONGEST + "…"


def test_the_last_entries_come_in_the_order_of_time(journalctl: Script) -> None:
    # With an expression journalctl begins with the newest.
    asked = journalctl(printed(record(3, "c"), record(2, "b")))
    entries, cursor = read(Query(ids=["1"], earliest="today"), 2)
    assert [each["text"] for each in entries] == ["b", "c"]
    assert cursor == "c3"
    _, line = asked.read_text().splitlines()
    assert line.startswith("UTC ") and line.endswith("--lines=2")


@pytest.mark.parametrize(
    "nothing", ["exit 1", "echo 'Failed to add filter for units: No data available' >&2; exit 1", "exit 0"]
)
def test_where_nothing_is_found_the_place_is_the_journal_s_end(journalctl: Script, nothing: str) -> None:
    journalctl(f'case "$*" in *--unit*) {nothing};; esac\n{printed(record(9))}')
    assert read(Query(), 5) == ([], "c9")


@pytest.mark.parametrize("ask", [lambda: read(Query(), 1), lambda: follow(Query(), "c1", 60)])
def test_what_journalctl_refuses_is_told(journalctl: Script, ask: Callable[[], object]) -> None:
    journalctl("echo 'Failed to parse timestamp: blah' >&2; exit 1")
    with pytest.raises(JournalError, match="Failed to parse timestamp: blah"):
        ask()


def test_entries_are_returned_when_they_come_and_the_rest_stays_for_the_next_look(journalctl: Script) -> None:
    asked = journalctl(f"{printed(record(4), record(5))}\nprintf '{{\"half'\nexec sleep 600")
    entries, cursor = follow(Query(earliest="today", latest="now"), "c3", 600)
    assert ([each["time"] for each in entries], cursor) == ([4, 5], "c5")
    [line] = asked.read_text().splitlines()
    assert "--since" not in line and "--until" not in line
    assert line.endswith("--follow --no-tail --after-cursor=c3")


@pytest.mark.parametrize("body", ["exec sleep 600", "echo 'No data available' >&2; exit 1"])
def test_a_look_at_a_silent_journal_ends_at_the_same_place(journalctl: Script, body: str) -> None:
    journalctl(body)
    assert follow(Query(), "c3", 0.1) == ([], "c3")
