"""The orders of a host: added, taken back, dropped when their time is over."""

import pytest
from fleet.host.revoked import lift, matching, order, read

EMPTY = {"schema": 1, "ids": {}, "tasks": []}


def ordered(document=EMPTY, ids=(), tasks=(), terminate=False, now=100.0):
    return order(document, ids, tasks, terminate=terminate, until=now + 50, now=now)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ids": 3, "tasks": []}', '{"ids": {}}', "null"])
def test_what_is_unreadable_counts_as_none(text):
    assert read(text) == EMPTY


def test_orders_add_up_until_their_time_is_over():
    first = ordered(ids=["a"], tasks=["shop.*"])
    assert first["ids"] == {"a": {"until": 150.0, "terminate": False}}
    assert first["tasks"] == [{"name": "shop.*", "before": 100.0, "until": 150.0, "terminate": False}]
    second = ordered(first, ids=["a", "b"], tasks=["shop.*"], terminate=True, now=120.0)
    assert second["ids"] == {id: {"until": 170.0, "terminate": True} for id in ("a", "b")}
    assert [each["before"] for each in second["tasks"]] == [120.0]
    late = ordered(first, ids=["c"], now=151.0)
    assert (set(late["ids"]), late["tasks"]) == ({"c"}, [])


def test_orders_are_taken_back():
    document = ordered(ids=["a", "b"], tasks=["shop.*", "mail"])
    left = lift(document, ["a"], ["mail"], 110.0)
    assert (set(left["ids"]), [each["name"] for each in left["tasks"]]) == ({"b"}, ["shop.*"])
    assert lift(document, [], [], 110.0) == EMPTY


def test_running_tasks_that_are_meant():
    active = [{"id": "a", "name": "shop.pay"}, {"id": "b", "name": "mail"}, {"id": "c", "name": None}]
    assert matching(active, ["c"], ["shop.*"]) == [active[0], active[2]]
    assert matching(active, [], []) == []
