"""What a node says of itself becomes its view of the cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet.broker.cluster import View
from fleet.broker.commands import CommandError, Commands, view_of

A, B = "rabbit@a", "rabbit@b"
FRESH = {"node": A, "running": True, "known": [A], "running_nodes": [A], "counts": [0, 1, 1]}
STOPPED = {"node": A, "running": False, "known": [A, B], "running_nodes": None, "counts": None}


def nodes(**answers: dict[str, Any]) -> Commands:
    """Return commands that only these nodes answer."""

    def run(argv: list[str]) -> tuple[int, str, str]:
        name = argv[argv.index("--node") + 1].partition("@")[2]
        if name not in answers:
            return 69, "", "unable to perform an operation on the node"
        return 0, json.dumps({"disabled_flags": None} | answers[name]) + "\nok\n", ""

    return Commands(run)


@pytest.mark.parametrize(
    ("counts", "blank"), [([0, 1, 1], True), ([1, 1, 1], False), ([0, 2, 1], False), ([0, 1, 2], False)]
)
def test_a_node_is_blank_that_has_what_a_first_start_gives(counts: list[int], blank: bool) -> None:
    view = view_of(nodes(a=FRESH | {"counts": counts}).ask(A))
    assert view
    assert view.blank is blank
    assert view.holds == f"{counts[0]} queues, {counts[1]} virtual hosts, {counts[2]} users"


def test_a_view_names_the_nodes_of_the_cluster() -> None:
    view = view_of(nodes(a=FRESH | {"known": [B, A], "counts": [3, 2, 9]}).ask(A))
    assert view == View(frozenset({A, B}), frozenset({A}), False, "3 queues, 2 virtual hosts, 9 users")


def test_a_stopped_broker_answers_and_has_no_view() -> None:
    answer = nodes(a=STOPPED).ask(A)
    assert answer["running"] is False
    assert view_of(answer) is None


def test_a_node_that_does_not_answer_says_nothing() -> None:
    assert nodes().ask(A) == {}
    assert view_of({}) is None


def test_the_first_node_that_answers_says_which_run() -> None:
    assert nodes(b=FRESH | {"running_nodes": [A, B, "rabbit@c"]}).running([A, B]) == {A, B}
    with pytest.raises(CommandError, match="None of the nodes answers"):
        nodes().running([A, B])
