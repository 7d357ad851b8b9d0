"""The pure parts of chaos: the schedule, causes of duplicates, availability, gaps, and what is printed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from itertools import islice
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials import hostile
from trials.chaos import SCENARIOS
from trials.chaos_report import (
    FAULTS,
    VERBS,
    availability,
    explain,
    judge,
    picture,
    pool_of,
    report,
    schedule,
    table,
    widest_gap,
)
from trials.ledger import PUBLISHED_AGAIN, REDELIVERED, UNEXPLAINED, Again, Event, Key, Ran, Run, Sent

POOLS = {"b": ["io", "general"], "a": ["cpu"]}
KINDS = (*VERBS, *FAULTS)


def sent(number, at=None):
    at = float(number) if at is None else at
    return Sent(Key("tidy", number), f"id-{number}", at, at, {})


def ran(number, at=None, node="general_worker_1@b", redelivered=False):
    at = number + 0.5 if at is None else at
    return Ran(Key("tidy", number), f"id-{number}", at, node, redelivered)


@given(st.integers(), st.sets(st.sampled_from(KINDS), min_size=1))
def test_same_seed_gives_the_same_rounds_of_every_kind(seed, kinds):
    kinds = sorted(kinds)
    steps = list(islice(schedule(seed, kinds, POOLS), 3 * len(kinds)))
    assert steps == list(islice(schedule(seed, kinds, POOLS), 3 * len(kinds)))
    for start in range(0, len(steps), len(kinds)):
        order = [step.kind for step in steps[start : start + len(kinds)]]
        assert sorted(order) == kinds
        if {"deploy", "rollback"} <= set(kinds):
            assert order.index("deploy") < order.index("rollback")
    assert all(step.pool in POOLS[step.host] for step in steps)


def test_another_seed_gives_another_order():
    orders = {tuple(islice(schedule(seed, KINDS, POOLS), len(KINDS))) for seed in range(20)}
    assert len(orders) == 20


@pytest.mark.parametrize(
    ("cause", "at", "expected"),
    [
        (REDELIVERED, 12, "kill main"),
        (REDELIVERED, 40, UNEXPLAINED),
        (PUBLISHED_AGAIN, 52, "reboot"),
        (REDELIVERED, 52, UNEXPLAINED),
        (UNEXPLAINED, 12, UNEXPLAINED),
    ],
)
def test_duplicate_is_explained_by_an_event_of_its_time_and_host(cause, at, expected):
    events = [
        Event("kill", 10, 14, "kill main", ("b",)),
        Event("reboot", 50, 60, "reboot", ("a",)),
    ]
    again = Again(ran(1, at), ran(1, at - 1), cause)
    assert explain(again, events) == (expected, cause)


def test_event_that_touches_no_host_of_its_own_touches_all():
    again = Again(ran(1, 12), ran(1, 11), REDELIVERED)
    assert explain(again, [Event("", 10, 14, "broker restart")]) == ("broker restart", REDELIVERED)


def test_availability_is_the_share_of_seconds_with_an_execution():
    assert availability([0.1, 0.9, 3.2, 99], 0, 4) == 0.5
    assert availability([], 0, 4) == 0
    assert availability([], 0, 0.5) == 1


def test_widest_gap_counts_both_ends():
    assert widest_gap([5], 0, 20) == (5, 20)
    assert widest_gap([], 0, 20) == (0, 20)
    assert widest_gap([9, 1, 12, 19], 0, 20) == (1, 9)


@pytest.mark.parametrize(
    ("node", "pool"),
    [("cpu_worker@h", "cpu"), ("io_worker_2@h", "io"), ("my_worker_pool_worker_1@h", "my_worker_pool")],
)
def test_node_tells_its_pool(node, pool):
    assert pool_of(node) == pool


def chaos():
    events = [Event("kill main of general on b", 3, 5, "kill main", ("b",))]
    runs = [ran(n) for n in range(10) if n != 4] + [ran(3, 4.9, redelivered=True)]
    return Run([sent(n) for n in range(10)], runs, events)


def test_verdict_says_what_is_lost_repeated_and_missing():
    verdict = judge(chaos())
    assert (verdict.sent, verdict.ran, verdict.lost) == (10, 9, [Key("tidy", 4)])
    assert verdict.duplicates == {("kill main", REDELIVERED): 1}
    assert verdict.unexplained == 0
    assert [(pool.name, pool.ran, pool.available) for pool in verdict.pools] == [("general", 10, 1.0)]
    assert verdict.pools[0].gap == pytest.approx(1.4)
    assert verdict.pools[0].during == "kill main of general on b"
    assert [(kind.name, kind.times, kind.longest) for kind in verdict.kinds] == [("kill main", 1, 2)]


def test_table_report_and_picture_tell_the_same():
    run = chaos()
    verdict = judge(run)
    for text in (table(verdict), report(run, verdict, "scripts/run trials.chaos --seed 7")):
        assert "LOST 1" in text
        assert "kill main" in text
    assert "scripts/run trials.chaos --seed 7" in report(run, verdict, "scripts/run trials.chaos --seed 7")
    root = ElementTree.fromstring(picture(run, verdict))
    assert "1 lost" in "".join(root.itertext())


def test_run_without_anything_is_judged():
    verdict = judge(Run([], [], []))
    assert (verdict.sent, verdict.lost, verdict.pools) == (0, [], [])
    table(verdict)


def test_a_verdict_says_what_became_of_poisoned_messages():
    verdict = replace(judge(chaos()), poisoned=60, dead=60)
    assert "poisoned messages 60, dead letters 60" in table(verdict)
    assert "poisoned" not in table(judge(chaos()))


def test_what_may_happen_to_the_hosts_of_each_scenario():
    assert {kind for place in SCENARIOS.values() for kind in place.kinds} == set(KINDS)
    # A single broker that is installed anew has lost what it held.
    assert "broker reinstalled" not in SCENARIOS["fleet"].kinds


def test_the_program_that_forges_reports_is_one():
    script = hostile.LIES.format(place="/run/x")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "\\u001b" in script


@pytest.mark.parametrize(("sent", "fault"), [(3, ""), (40, "sent 40 entries"), (0, "still not")])
def test_a_scheduler_whose_clock_jumps_sends_neither_nothing_nor_everything(monkeypatch, sent, fault):
    counts = iter([7])
    monkeypatch.setattr(hostile, "_ticks", lambda _: next(counts, 7 + sent))
    monkeypatch.setattr(hostile, "HEALED", 0.0)
    if fault:
        with pytest.raises(AssertionError, match=fault):
            hostile._ticks_on(None, "in a test")
    else:
        hostile._ticks_on(None, "in a test")
