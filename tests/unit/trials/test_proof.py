"""The arithmetic of the proof: what is lost, what ran twice and why, how long nothing ran."""

from __future__ import annotations

import json
from dataclasses import asdict
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.ledger import PUBLISHED_AGAIN, REDELIVERED, UNEXPLAINED, Event, Key, Ran, Run, Sent, read
from trials.proof import CHARACTER, FULL, WIDTH, judge, main, picture, table


def sent(number, at=None, kind="tidy", errors=None, begun=None):
    at = number if at is None else at
    return Sent(
        Key(kind, number), f"{kind}-{number}", at - 0.01 if begun is None else begun, at, errors or {}
    )


def ran(number, at=None, kind="tidy", redelivered=False, identity=None):
    return Ran(
        Key(kind, number),
        identity or f"{kind}-{number}",
        number + 0.5 if at is None else at,
        "n",
        redelivered,
    )


def whole(count=10):
    return Run([sent(n) for n in range(count)], [ran(n) for n in range(count)], [])


def test_run_without_fault_loses_nothing():
    verdict = judge(whole())
    assert (verdict.sent, verdict.ran, verdict.lost, verdict.unknown) == (10, 10, [], [])
    assert sum(verdict.duplicates.values()) == 0


@given(st.sets(st.integers(0, 49)))
def test_exactly_the_tasks_that_never_ran_are_lost(missing):
    run = whole(50)
    verdict = judge(Run(run.sent, [each for each in run.ran if each.key.number not in missing], []))
    assert verdict.lost == [Key("tidy", number) for number in sorted(missing)]
    assert f"LOST {len(missing)}" in table(verdict)


def test_task_that_nobody_published_is_unknown():
    run = whole()
    assert judge(Run(run.sent[1:], run.ran, [])).unknown == [Key("tidy", 0)]


@pytest.mark.parametrize(
    ("first", "second", "publisher", "cause"),
    [
        (ran(1, 1), ran(1, 2, redelivered=True), sent(1), REDELIVERED),
        # The second delivery ran first.
        (ran(1, 1, redelivered=True), ran(1, 2), sent(1), REDELIVERED),
        # The client tried again with a new id, because the confirmation never came.
        (ran(1, 1, identity="other"), ran(1, 2), sent(1), PUBLISHED_AGAIN),
        # Celery's own retry keeps the id.
        (ran(1, 1), ran(1, 2), sent(1, errors={"OperationalError": 1}), PUBLISHED_AGAIN),
        (ran(1, 1), ran(1, 2), sent(1), UNEXPLAINED),
    ],
)
def test_second_execution_has_a_cause(first, second, publisher, cause):
    verdict = judge(Run([publisher], [first, second], []))
    assert verdict.duplicates == {cause: 1}
    assert verdict.lost == []


def test_gap_is_counted_from_the_fault_on_and_for_the_pool_that_waited_longest():
    event = Event("kill", 100, 110)
    run = Run(
        [],
        [ran(0, 99), ran(1, 103), ran(2, 104), ran(3, 101, kind="fetch"), ran(4, 109, kind="fetch")],
        [event],
    )
    _, row = judge(run).rows
    assert (row.gap, row.pool_gap, row.pool) == (5, 8, "fetch")


def test_stall_that_outlasts_the_fault_counts_until_work_goes_on():
    run = Run([], [ran(0, 100), ran(1, 120)], [Event("kill", 100, 110)])
    assert judge(run).rows[1].gap == 20


def test_refusals_of_a_full_queue_are_counted():
    run = Run([sent(0, errors={FULL: 3, "OperationalError": 1})], [ran(0)], [])
    assert judge(run).refused == 3


def test_kept_ledgers_give_the_table_and_the_picture(tmp_path, capsys):
    run = whole(3)
    events = [Event("kill of <a>", 0, 1)]
    (tmp_path / "events.json").write_text(json.dumps([asdict(event) for event in events]))
    for name, entries in (("sent-client", run.sent), ("ran-worker", run.ran)):
        lines = [
            json.dumps({**asdict(each), "kind": each.key.kind, "number": each.key.number}) for each in entries
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    assert read(tmp_path) == Run(run.sent, run.ran, events)
    assert main([str(tmp_path), str(tmp_path / "proof.svg")]) == 0
    assert "LOST 0" in capsys.readouterr().out
    drawing = (tmp_path / "proof.svg").read_text()
    ElementTree.fromstring(drawing)
    assert "kill of &lt;a&gt;" in drawing

    # The same with one execution less says so, and ends with another code.
    (tmp_path / "ran-worker.jsonl").write_text(
        "\n".join((tmp_path / "ran-worker.jsonl").read_text().splitlines()[1:])
    )
    assert main([str(tmp_path), str(tmp_path / "proof.svg")]) == 1
    assert "LOST 1" in capsys.readouterr().out


def test_line_that_was_cut_short_is_refused(tmp_path):
    (tmp_path / "events.json").write_text("[]")
    (tmp_path / "ran-a.jsonl").write_text('{"kind": "ti')
    with pytest.raises(ValueError, match=r"ran-a\.jsonl:1"):
        read(tmp_path)


def test_picture_of_an_empty_run_is_one():
    run = Run([], [], [])
    ElementTree.fromstring(picture(run, judge(run)))


def test_name_of_a_fault_at_the_end_of_a_run_stays_in_the_picture():
    name = "partition of a broker"
    run = Run([sent(0)], [ran(0, 0), ran(1, 400)], [Event(name, 399, 400)])
    [label] = [
        each
        for each in ElementTree.fromstring(picture(run, judge(run))).iter()
        if each.text == name and each.get("x")
    ]
    assert float(label.get("x")) + CHARACTER * len(name) <= WIDTH
