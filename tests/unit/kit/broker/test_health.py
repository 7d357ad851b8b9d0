"""Whether a node may be stopped, from what two versions of RabbitMQ print."""

from __future__ import annotations

import copy

import pytest
from fleet.broker.health import behind, critical, read_queues, unhealthy

NODES = ["rabbit@a", "rabbit@b", "rabbit@c"]
HEALTHY = {"known": NODES, "running": NODES, "maintenance": [], "alarms": [], "partitions": {}}
GONE = dict.fromkeys(["Last Written", "Commit Index"], "")


def member(node, state="follower", last=10, committed=10):
    return {"Node Name": node, "Raft State": state, "Last Written": last, "Commit Index": committed}


def queues(*members, name="tasks"):
    return read_queues([{"vhost": "fleet", "name": name, "members": members}])


def three(state="follower"):
    return queues(member("rabbit@a", "leader"), member("rabbit@b"), member("rabbit@c", state))


def test_healthy_cluster_has_no_obstacle():
    assert unhealthy(HEALTHY, NODES) == []
    assert critical(three(), "rabbit@a") == []
    assert behind(three(), three()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"running": NODES[:2]}, "rabbit@c is not running"),
        ({"maintenance": ["rabbit@b"]}, "rabbit@b is in maintenance mode"),
        (
            {"alarms": [{"node": "rabbit@a", "resource": "memory"}]},
            "an alarm is raised: memory rabbit@a",
        ),
        ({"alarms": ["file_descriptor_limit"]}, "an alarm is raised: file_descriptor_limit"),
        ({"partitions": {"rabbit@a": ["rabbit@b"]}}, "rabbit@a was cut off from rabbit@b"),
    ],
)
def test_each_obstacle_is_named(change, reason):
    assert unhealthy(copy.deepcopy(HEALTHY) | change, NODES) == [reason]


# As 4.0 shows a drained node, a stopped one, and one whose status could not be read.
@pytest.mark.parametrize("state", ["noproc", "{nodedown,'rabbit@c'}", "unknown"])
def test_node_that_a_majority_needs_is_critical(state):
    found = three(state)
    assert critical(found, "rabbit@a") == [
        "without rabbit@a tasks would have no majority, because of rabbit@c (not taking part)"
    ]
    # Whose own member does not take part takes nothing away.
    assert critical(found, "rabbit@c") == []


def test_node_that_left_for_good_is_no_obstacle():
    assert unhealthy(HEALTHY | {"running": NODES[:2]}, NODES[:2]) == []
    assert unhealthy(HEALTHY | {"running": NODES[:2]}) == ["rabbit@c is not running"]


def test_queue_of_one_member_stops_with_its_node_and_waits():
    assert critical(queues(member("rabbit@a", "leader")), "rabbit@a") == []


def test_queue_of_two_members_depends_on_both():
    found = queues(member("rabbit@a", "leader"), member("rabbit@b"))
    assert critical(found, "rabbit@a") == [
        "without rabbit@a tasks would have no majority, because of no other member"
    ]


def test_queue_elsewhere_does_not_need_the_node():
    found = queues(member("rabbit@b", "leader"), member("rabbit@c", "noproc"))
    assert critical(found, "rabbit@a") == []


def test_many_queues_are_some_and_a_number():
    found = [
        each
        for number in range(7)
        for each in queues(
            member("rabbit@a"), member("rabbit@b"), member("rabbit@c", "noproc"), name=f"q{number}"
        )
    ]
    assert critical(found, "rabbit@a") == [
        "without rabbit@a q0, q1, q2, q3, q4 and 2 more would have no majority, "
        "because of rabbit@c (not taking part)"
    ]


def test_member_that_holds_what_was_committed_before_is_in_sync():
    before = queues(member("rabbit@a", "leader", 100, 98), member("rabbit@b", last=90, committed=90))
    now = queues(member("rabbit@a", "leader", 120, 119), member("rabbit@b", last=98, committed=98))
    assert behind(before, now) == []
    assert behind(before, before, ["rabbit@a"]) == []
    assert behind(before, before, ["rabbit@b"]) == [
        "rabbit@b does not hold all of tasks: 8 entries of tasks are missing"
    ]


def test_member_that_does_not_take_part_is_behind():
    gone = member("rabbit@b", "noproc") | GONE
    assert behind(queues(), queues(member("rabbit@a", "leader"), gone), ["rabbit@b"]) != []
    assert behind(queues(), queues(member("rabbit@a", "leader"), gone), ["rabbit@a"]) == []


def test_status_of_3_10_is_read_too():
    [queue] = read_queues(
        [
            {
                "vhost": "/",
                "name": "q",
                "members": [
                    {"Node Name": "rabbit@a", "Raft State": "leader", "Log Index": 7, "Commit Index": 6},
                    {"Node Name": "rabbit@b", "Raft State": "noproc", "Log Index": "", "Commit Index": ""},
                ],
            }
        ]
    )
    assert queue.committed == 6
    assert [(each.last, each.alive) for each in queue.members] == [(7, True), (-1, False)]
