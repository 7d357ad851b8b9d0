"""What the status says of the server of results."""

import pytest
from fleet.status.document import document
from fleet.status.results import notes, row, warnings
from fleet.status.screen import text

FIGURES = {
    "uptime_in_seconds": 90,
    "used_memory": 10 * 2**20,
    "maxmemory": 100 * 2**20,
    "version": "8.1.1",
    "aof_fine": True,
    "refused": 0,
}


def reported(answers=True, **figures):
    return {"answers": answers, "error": "", "figures": {**FIGURES, **figures}}


def test_a_sound_server_has_a_line_and_no_warning():
    status = document({}, {}, {"asked": False}, {}, (), results={"results1": reported()})
    assert status["fine"] and not status["notes"]
    [line] = [line for line in text(status).splitlines() if line.startswith("results1")]
    assert line.split()[:8] == ["results1", "8.1.1", "10", "MiB", "100", "MiB", "fine", "0"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"answers": False, "error": "Connection refused", "figures": {}},
            "does not answer: Connection refused",
        ),
        ({"unreachable": True, "msg": "timed out"}, "does not answer: timed out"),
        (reported(answers=False), "still reads its file"),
        (reported(aof_fine=False), "do not reach the disk"),
        (reported(used_memory=80 * 2**20), "results fill 80 of 100 MiB"),
    ],
)
def test_what_is_wrong_is_a_warning(found, said):
    (warning,) = warnings("results1", found)
    assert warning.startswith("results1: ") and said in warning
    status = document({}, {}, {"asked": False}, {}, (), results={"results1": found})
    assert not status["fine"]
    assert text(status)


def test_refused_writes_are_a_note():
    assert list(warnings("results1", reported(refused=3))) == []
    assert list(notes("results1", reported(refused=3))) == [
        "results1: for want of memory 3 results had to wait since the server's start"
    ]
    assert row({})["answers"] is False
