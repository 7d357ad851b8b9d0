"""No task is lost, whatever happens to the fleet: the short form of `make chaos` on this scenario's hosts."""

from __future__ import annotations

import pytest

from trials.chaos import chaos
from trials.chaos_report import Verdict

# One round in an order that lets the watchdog find the stopped worker while other things happen.
SEED = 23
KINDS = ("kill child", "kill main", "stop main", "broker restart", "cut", "reboot")
SECONDS = 140
# Longest time without a task of any kind.
LONGEST_GAP = 30


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return chaos(SECONDS, 1_000_000, SEED, KINDS, rounds=1)


def test_no_task_is_lost_and_every_second_execution_has_a_cause(verdict: Verdict) -> None:
    assert verdict.lost == []
    assert verdict.unknown == []
    assert verdict.unexplained == 0, verdict.duplicates
    assert verdict.sent > 1000
    # Each kind has had its turn and found its end.
    assert {kind.name for kind in verdict.kinds} == set(KINDS)
    assert verdict.fleet.gap <= LONGEST_GAP, verdict.fleet
