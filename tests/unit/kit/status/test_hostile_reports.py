"""Whatever lies where a worker reports, the status of all hosts is shown, on one harmless screen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fleet.host import foreign, report
from fleet.host import status as host_status
from fleet.host.names import BEAT
from fleet.host.status import PROPERTIES
from fleet.status import document as status_document
from fleet.status.screen import rollover_lines, text
from hypothesis import example, given, settings
from hypothesis import strategies as st

NOW, UP, PID = 1_000_000.0, 5_000.0, 42
HOSTILE = "\x1b]52;c;cm0=\x07\nAll is well.\r\u202e\x00\ud800"
QUEUE = {"name": "io_q", "ready": 0, "unacked": 0, "messages": 0, "consumers": 1, "exclusive": False}

texts = st.text(max_size=10) | st.just(HOSTILE)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**53, PID])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=5,
)
tasks = st.dictionaries(st.sampled_from(["id", "name", "queue", "started", "time_limit"]), values)
fields = st.dictionaries(st.sampled_from([*report._REPORT]) | texts, values, max_size=5)
# What looks like a report is read as one, so most have the process and the state that one would have.
reports = st.builds(
    lambda odd, likely, active: {**odd, **likely, **active},
    fields,
    st.just({}) | st.just({"pid": PID, "state": "consuming"}),
    st.just({}) | st.fixed_dictionaries({"active": st.lists(tasks | values, max_size=3)}),
)
contents = (
    st.binary(max_size=40)
    | reports.map(lambda data: json.dumps(data).encode())
    | reports.map(lambda data: json.dumps(data).encode()[:-1])
    | st.sampled_from([b"[" * 100_000, b'{"pid": ' + b"9" * 10_000 + b"}", b"null", b"\xff\xfe{}"])
)


def unit(name: str) -> dict[str, str]:
    state = {"ActiveState": "active", "SubState": "running", "MainPID": str(PID), "NRestarts": "0"}
    return dict.fromkeys(PROPERTIES, "") | state | {"Id": name}


def shown(content: bytes, directory: Path) -> dict[str, Any]:
    """Return the status of a fleet one host of which reports this, and another what is right."""
    (directory / "state.json").write_bytes(content)
    found = report.parse(foreign.read(directory, "state.json"))
    right = {"pid": PID, "state": "consuming", "slots": 4, "active": [], "updated": NOW}

    def host(state: dict[str, Any]) -> dict[str, Any]:
        instance = host_status.instance(unit("celery-fleet-io@r_0_1.service"), state, None, NOW, UP)
        return {"instances": [instance], "drained": {}, "beat": host_status.beat(unit(BEAT), state, NOW, UP)}

    return status_document.document(
        hosts={"hostile": host(found), "innocent": host(right)},
        expected={"hostile": ["io"], "innocent": ["io"]},
        broker={"queues": [QUEUE | {"oldest_s": None, "in_per_s": 0, "out_per_s": 0}], "errors": []},
        pools={"io": ["io_q"]},
        dead=[],
        schedulers=["hostile"],
    )


@settings(max_examples=500)
@given(contents)
@example(
    json.dumps({"pid": PID, "state": HOSTILE, "obstacle": HOSTILE, "active": [{"id": HOSTILE}]}).encode()
)
def test_no_report_breaks_the_status_or_writes_on_its_screen(tmp_path: Path, content: bytes) -> None:
    document = shown(content, tmp_path)
    json.dumps(document).encode()
    lines = [*text(document).split("\n"), *rollover_lines(document["hosts"]["hostile"]["instances"])]
    assert all(line.isprintable() for line in lines)
    assert "All is well." not in lines[1:]
    assert document["hosts"]["innocent"]["instances"][0]["slots"] == 4
    assert not [warning for warning in document["warnings"] if warning.startswith("innocent")]


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "second name", "large"])
def test_what_is_no_file_of_the_worker_says_nothing(tmp_path: Path, kind: str) -> None:
    secret, place = tmp_path / "secret", tmp_path / "unit"
    secret.write_text(json.dumps({"pid": PID, "state": "consuming"}))
    place.mkdir()
    path = place / "state.json"
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "second name":
        path.hardlink_to(secret)
    else:
        path.write_bytes(b" " * (foreign.LARGEST + 1))
    assert report.parse(foreign.read(place, "state.json")) == {}
