"""What is migrated, and when that can't be done without loss."""

from __future__ import annotations

import pytest
from fleet.broker.migration import (
    MigrationError,
    check_diversion,
    chosen,
    interrupted,
    overlap,
    rebinding,
    record_name,
    with_alternate,
    without_limits,
)
from fleet.broker.reconcile import Changes, Difference, State

OURS = [("exchange", "x")]


def broker(*bound: tuple[str, str, str], kind: str = "topic") -> State:
    state: State = {
        ("exchange", name): {"type": kind, "arguments": {}} for name in {source for source, *_ in bound}
    }
    for source, queue, key in bound:
        state["binding", source, "queue", queue, key] = {"arguments": {}}
    return state


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("cpu.ml", "cpu.ml", True),
        ("cpu.ml", "cpu.video", False),
        ("#.cpu.ml", "#.cpu.video", False),
        ("#.cpu.ml", "cpu.ml", True),
        ("#.cpu.ml", "#.ml", True),
        ("cpu.*", "*.ml", True),
        ("cpu.*", "cpu", False),
        ("cpu.#", "cpu", True),
        ("#", "", True),
        ("a.#.b", "a.#.c", False),
        ("*", "#", True),
    ],
)
def test_topic_patterns_that_take_the_same_message(one, other, both):
    assert overlap("topic", one, other) is both
    assert overlap("topic", other, one) is both


def test_other_types_of_exchanges():
    assert not overlap("topic", "#." * 30 + "a", "#." * 30 + "b"), "within the time that a test has"
    assert overlap("direct", "a", "a")
    assert not overlap("direct", "#", "a")
    assert overlap("fanout", "a", "b")
    assert overlap("headers", "a", "b"), "what can't be known is taken for true"


def test_a_queue_alone_behind_its_keys_can_be_diverted():
    check_diversion("q", broker(("x", "q", "a.b"), ("x", "q", "#.a.b"), ("x", "other", "#.a.c")), OURS)


def test_a_second_queue_for_the_same_messages_is_in_the_way():
    with pytest.raises(
        MigrationError, match=r"Messages of queue q also go to queue audit, by exchange x with '#'"
    ):
        check_diversion("q", broker(("x", "q", "a.b"), ("x", "audit", "#")), OURS)


def test_a_binding_from_somebody_elses_exchange_is_in_the_way():
    with pytest.raises(MigrationError, match="bound to exchange theirs, which isn't the fleet's"):
        check_diversion("q", broker(("x", "q", "a"), ("theirs", "q", "a")), OURS)


def test_an_alternate_exchange_by_argument_is_in_the_way():
    state = broker(("x", "q", "a"))
    state["exchange", "x"]["arguments"]["alternate-exchange"] = "y"
    with pytest.raises(MigrationError, match="has an alternate exchange of its own"):
        check_diversion("q", state, OURS)


PLANNED = Changes(
    blocked=tuple(Difference(key, {}, {}) for key in (("exchange", "x"), ("queue", "q"), ("queue", "r")))
)


def test_all_that_differs_is_migrated_and_what_was_begun_first():
    assert chosen(PLANNED, [], None) == (["x"], ["q", "r"])
    assert chosen(PLANNED, ["r"], None) == (["x"], ["r", "q"])


def test_one_is_migrated_after_what_was_begun():
    assert chosen(PLANNED, [], "q") == ([], ["q"])
    assert chosen(PLANNED, ["r"], "x") == (["x"], ["r"])


def test_what_needs_no_migration_is_told_with_what_does():
    with pytest.raises(MigrationError, match=r"^s needs no migration.* To migrate: x, q, r\.$"):
        chosen(PLANNED, [], "s")


def test_an_interrupted_migration_is_found_in_its_own_vhost():
    parameters = [
        {"name": record_name("v", "q"), "value": {"moved": 3}},
        {"name": record_name("other", "r"), "value": {}},
        {"name": "cluster_tags", "value": []},
    ]
    assert interrupted({"global_parameters": parameters}, "v") == {"q": {"moved": 3}}


def test_nothing_is_refused_or_dropped_while_messages_are_moved():
    policy = without_limits({"max-length": 1, "max-length-bytes": 2, "overflow": "drop-head"}, "a.b")
    assert policy["definition"] == {"overflow": "drop-head"}
    assert policy["pattern"] == r"^a\.b$"


def test_the_alternate_exchange_bears_a_name_that_the_reconciliation_leaves_alone():
    policy = with_alternate("x")
    assert policy["definition"] == {"alternate-exchange": "celery_fleet_migration.x"}
    assert policy["apply-to"] == "exchanges"


def test_an_exchange_that_becomes_a_direct_one_leaves_delayed_tasks_a_way():
    """The one that led to it leads to its queues instead; what is somebody else's stays."""
    old: State = {
        **broker(("x", "q", "a"), ("x", "q", "#.a"), ("x", "theirs", "b")),
        ("exchange", "delays"): {"type": "topic", "arguments": {}},
        ("binding", "delays", "exchange", "x", "#.a"): {"arguments": {}},
        ("binding", "foreign", "exchange", "x", "f"): {"arguments": {}},
    }
    new = broker(("x", "q", "a"), ("delays", "q", "#.a"))
    own, around = rebinding("x", old, new)
    assert {(each.source, each.destination, each.routing_key) for each in own} == {
        ("x", "q", "a"),
        ("x", "q", "#.a"),
        ("x", "theirs", "b"),
        ("foreign", "x", "f"),
    }
    assert [(each.source, each.destination, each.routing_key) for each in around] == [("delays", "q", "#.a")]


def test_an_exchange_on_the_way_to_the_queue_is_diverted_with_it():
    state = broker(("x", "q", "a"), ("delays", "q", "#.a"))
    state["binding", "delays", "exchange", "x", "#.a"] = {"arguments": {}}
    check_diversion("q", state, [*OURS, ("exchange", "delays")])
