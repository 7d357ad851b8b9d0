"""Plans between any two states: what they say, and that applying one leaves nothing to do."""

from __future__ import annotations

from typing import Any

from fleet.broker.reconcile import Changes, Difference, Key, State, before_and_after, compare
from hypothesis import given
from hypothesis import strategies as st

FIXED = {"queue"}

keys = st.tuples(st.sampled_from(["queue", "policy", "binding"]), st.sampled_from("abcd"))
attributes: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["durable", "arguments"]),
    st.one_of(st.integers(0, 2), st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2)),
    max_size=2,
)
states = st.dictionaries(keys, attributes, max_size=8)


def removable(key: Key) -> bool:
    return key[0] == "binding"


def made(current: State, desired: State) -> Changes:
    return compare(current, desired, fixed=FIXED, removable=removable)


def applied(current: State, todo: Changes) -> State:
    after = dict(current)
    for each in (*todo.create, *todo.change):
        assert each.after is not None
        after[each.key] = each.after
    for each in todo.remove:
        del after[each.key]
    return after


@given(states, states)
def test_after_a_plan_only_what_is_blocked_is_left(current, desired):
    todo = made(current, desired)
    again = made(applied(current, todo), desired)
    assert again == Changes(blocked=todo.blocked, unmanaged=todo.unmanaged)


@given(states)
def test_a_state_needs_nothing_to_become_itself(state):
    assert made(state, state).empty


@given(states, states)
def test_every_object_that_exists_or_is_wanted_is_accounted_for_once(current, desired):
    todo = made(current, desired)
    same = [key for key in current if desired.get(key) == current[key]]
    told = [*(each.key for each in todo.differences), *todo.unmanaged, *same]
    assert sorted(told) == sorted(current.keys() | desired.keys())


@given(states, states)
def test_nothing_is_removed_that_may_not_be(current, desired):
    todo = made(current, desired)
    assert all(each.key[0] == "binding" for each in todo.remove)
    assert all(each.key[0] == "queue" for each in todo.blocked)
    assert not any(each.key[0] == "queue" for each in todo.change)


def test_by_default_nothing_is_removed():
    todo = compare({("queue", "old"): {}}, {})
    assert todo.empty
    assert todo.unmanaged == (("queue", "old"),)


def test_an_explanation_names_each_attribute_with_both_values():
    difference = Difference(
        ("queue", "cpu"),
        {"durable": True, "arguments": {"x-queue-type": "classic", "x-expires": 1}},
        {"durable": True, "arguments": {"x-queue-type": "quorum"}},
    )
    assert difference.explain() == [
        "queue cpu: arguments.x-expires is 1, wanted not set",
        "queue cpu: arguments.x-queue-type is classic, wanted quorum",
    ]


def test_a_diff_holds_only_what_differs():
    same = {("queue", "same"): {"durable": True}}
    todo = made(
        same | {("policy", "p"): {"definition": {"max-length": 1}}, ("binding", "b"): {}},
        same | {("policy", "p"): {"definition": {"max-length": 2}}, ("queue", "new"): {}},
    )
    assert before_and_after(todo.differences) == (
        {"policy p": {"definition": {"max-length": 1}}, "binding b": {}},
        {"policy p": {"definition": {"max-length": 2}}, "queue new": {}},
    )
