from __future__ import annotations

import itertools

import pytest

from celery_fleet.worker.phase import Condition, Phase


@pytest.mark.parametrize(
    ("condition", "phase"),
    [
        (Condition(), Phase.STARTING),
        (Condition(obstacle="no broker"), Phase.WAITING),
        (Condition(ready=True), Phase.WAITING),
        (Condition(connected=True), Phase.STARTING),
        (Condition(connected=True, proved=True), Phase.PAUSED),
        (Condition(connected=True, proved=True, consuming=True), Phase.CONSUMING),
        (Condition(connected=True, proved=True, consuming=True, stopping=True), Phase.STOPPING),
        (Condition(stopping=True, obstacle="no broker"), Phase.STOPPING),
    ],
)
def test_the_phase_follows_from_the_facts(condition: Condition, phase: Phase) -> None:
    assert condition.phase is phase


def test_tasks_are_taken_only_with_a_proof_a_slot_and_nobody_against_it() -> None:
    for proved, paused, stopping, slots in itertools.product(
        (True, False), (True, False), (True, False), (0, 2)
    ):
        condition = Condition(proved=proved, paused=paused, stopping=stopping, slots=slots)
        assert condition.may_consume == (proved and slots == 2 and not paused and not stopping)


def test_a_worker_that_is_paused_by_nobody_says_why() -> None:
    condition = Condition(connected=True, proved=True)
    assert condition.reason == "no slot is free"
    condition.paused = True
    assert condition.reason == ""
    assert Condition(obstacle="refused").reason == "refused"
