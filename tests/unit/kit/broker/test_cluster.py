"""Who joins, who is forgotten, and what is refused."""

from __future__ import annotations

import pytest
from fleet.broker.cluster import View, membership

A, B, C, D = "rabbit@a", "rabbit@b", "rabbit@c", "rabbit@d"
NODES = [A, B, C]


def blank(node: str) -> View:
    return View(frozenset({node}), frozenset({node}))


def of(known: list[str], running: list[str] | None = None) -> View:
    return View(frozenset(known), frozenset(known if running is None else running), False, "3 queues")


def test_no_second_cluster_begins_beside_one_that_does_not_answer() -> None:
    pair = View(frozenset({A, B}), frozenset({A, B}))
    for views in ({A: blank(A)}, {A: blank(A), B: blank(B)}, {A: pair, B: pair}):
        todo = membership(NODES, views)
        assert (todo.seed, todo.join) == (None, ())
        assert f"{C} do not answer" in todo.refusals[0]
        assert "broker_new_cluster" in todo.refusals[0]
        assert membership(NODES, views, new_cluster=True).seed == A


def test_an_empty_cluster_goes_on_without_a_node_that_it_knows() -> None:
    views = dict.fromkeys([A, B], View(frozenset(NODES), frozenset({A, B})))
    assert membership(NODES, views).refusals == ()


def test_a_single_broker_needs_nothing() -> None:
    assert membership([A], {A: of([A])}).empty
    assert membership([A], {A: blank(A)}).empty


def test_blank_nodes_join_the_first() -> None:
    todo = membership(NODES, {node: blank(node) for node in NODES})
    assert (todo.seed, todo.join, todo.forget) == (A, (B, C), ())


def test_blank_nodes_join_the_one_that_holds_data_wherever_it_stands() -> None:
    todo = membership(NODES, {A: blank(A), B: of([B]), C: blank(C)})
    assert (todo.seed, todo.join) == (B, (A, C))


def test_a_formed_cluster_needs_nothing() -> None:
    todo = membership(NODES, dict.fromkeys(NODES, of(NODES)))
    assert todo.empty
    assert todo.down == ()


def test_what_a_half_finished_run_left_is_completed() -> None:
    two = of([A, B])
    todo = membership(NODES, {A: two, B: two, C: blank(C)})
    assert (todo.seed, todo.join) == (A, (C,))


def test_an_empty_cluster_is_larger_than_an_empty_node() -> None:
    two = View(frozenset({B, C}), frozenset({B, C}))
    todo = membership(NODES, {A: blank(A), B: two, C: two})
    assert (todo.seed, todo.join) == (B, (A,))


def test_a_node_that_lost_its_data_is_forgotten_before_it_joins() -> None:
    others = of(NODES, [B, C])
    todo = membership(NODES, {A: blank(A), B: others, C: others})
    assert (todo.seed, todo.forget, todo.join) == (B, (A,), (A,))


def test_two_brokers_with_data_are_refused_by_name() -> None:
    todo = membership(NODES, {A: of([A]), B: of([B]), C: blank(C)})
    assert todo.empty
    (refusal,) = todo.refusals
    assert A in refusal
    assert B in refusal
    assert "3 queues" in refusal


def test_a_node_that_left_the_inventory_is_forgotten_when_it_is_down() -> None:
    every = of([A, B, C, D], NODES)
    todo = membership(NODES, dict.fromkeys(NODES, every))
    assert (todo.forget, todo.join) == ((D,), ())


def test_a_node_that_left_the_inventory_and_runs_is_refused() -> None:
    todo = membership(NODES, dict.fromkeys(NODES, of([A, B, C, D])))
    assert todo.empty
    assert D in todo.refusals[0]
    assert "systemctl disable --now" in todo.refusals[0]


def test_nobody_is_forgotten_without_a_majority() -> None:
    todo = membership([A], {A: of(NODES, [A])})
    assert todo.empty
    assert "no majority" in todo.refusals[0]


def test_a_node_that_is_down_is_told_of_and_left_alone() -> None:
    others = of(NODES, [A, B])
    todo = membership(NODES, {A: others, B: others})
    assert todo.empty
    assert todo.down == (C,)


def test_nobody_is_forgotten_who_may_be_the_one_that_does_not_answer() -> None:
    """Its host's facts are not known, and so not its node's name."""
    others = of([A, B, "rabbit@other"], [A, B])
    todo = membership(NODES, {A: others, B: others})
    assert todo.empty
    assert (todo.down, todo.kept) == ((C,), ("rabbit@other",))


@pytest.mark.parametrize("nodes", [NODES, [A]])
def test_without_any_node_there_is_no_seed(nodes: list[str]) -> None:
    todo = membership(nodes, {})
    assert todo.seed is None
    assert todo.down == tuple(nodes)
