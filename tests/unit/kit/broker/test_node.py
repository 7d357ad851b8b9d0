"""One node's answer to one question, and what follows from it."""

import json

import pytest
from fleet.broker.node import expression, internode_tls, overloaded, read, uneven

ANSWER = {
    "node": "rabbit@one",
    "running": True,
    "known": ["rabbit@two", "rabbit@one"],
    "running_nodes": ["rabbit@one"],
    "disabled_flags": ["z", "a"],
}


def test_the_question_is_one_line_that_names_the_hosts():
    text = expression(["one", "two"])
    assert "\n" not in text
    assert 'N <- ["one", "two"]' in text
    assert (text.count("("), text.count("[")) == (text.count(")"), text.count("]"))


def test_an_answer_is_sorted_and_freed_from_the_value_of_the_expression():
    found = read(json.dumps(ANSWER) + "\nok\n")
    assert found["known"] == ["rabbit@one", "rabbit@two"]
    assert found["disabled_flags"] == ["a", "z"]


def test_what_a_stopped_broker_cannot_say_is_empty():
    found = read(json.dumps(ANSWER | {"known": None, "running_nodes": None, "disabled_flags": None}))
    assert (found["known"], found["running_nodes"], found["disabled_flags"]) == ([], [], [])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("beam.smp -proto_dist inet_tls -ssl_dist_optfile f", True),
        ("beam.smp -noshell", False),
        # One that does not run.
        ('SERVER_ADDITIONAL_ERL_ARGS="-proto_dist inet_tls"', True),
        ("DIST_PORT=25672", False),
        # New, or alone: it may begin with either.
        ("", None),
        ("beam.smp -kernel inet_dist_use_interface {127,0,0,1}", None),
    ],
)
def test_a_node_of_a_cluster_keeps_what_it_speaks(arguments, expected):
    assert internode_tls(arguments) is expected


def queue(leader, *members, vhost="fleet"):
    return {"vhost": vhost, "members": list(members), "leader": leader}


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (None, False),
        ([], False),
        ([queue("a", "a", "b"), queue("b", "a", "b")], False),
        ([queue("a", "a", "b")], False),
        ([queue("a", "a", "b"), queue("a", "a", "b")], True),
        ([queue("a", "a"), queue("b", "a", "b")], True),
        ([queue("a", "a", vhost="other")], False),
        ([queue(None, "a", "b")], False),
    ],
)
def test_a_queue_without_a_member_or_with_too_many_leaders_beside_it_is_uneven(queues, expected):
    assert uneven(queues, "fleet", ["a", "b"]) is expected


@pytest.mark.parametrize(
    ("leaders", "expected"),
    [
        ({"a": 15, "b": 15, "c": 13}, False),
        ({"a": 16, "b": 14, "c": 13}, True),
        ({"a": 15, "b": 14, "c": 14}, False),
        ({"a": 43}, True),
        ({}, False),
    ],
)
def test_a_node_is_overloaded_above_its_share_rounded_up_as_the_broker_rounds_it(leaders, expected):
    assert overloaded(leaders, 43, ["a", "b", "c"]) is expected
