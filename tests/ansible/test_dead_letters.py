from __future__ import annotations

import json

from ansible_collections.celery_fleet.kit.plugins.filter.dead_letters import (
    dead_letters_done,
    dead_letters_faults,
    dead_letters_options,
    dead_letters_table,
)

DEAD = "cpu_tasks_dead"
LETTER = {
    "id": "4f1c", "task": "shop.train_model", "dead_queue": DEAD, "queue": "cpu_ml_training",
    "reason": "delivery_limit", "times": 2, "sent_back": 1, "age": 7300,
}  # fmt: skip
KIND = {
    "task": "shop.train_model", "reason": "delivery_limit", "queue": "cpu_ml_training", "count": 3,
    "sent_back": 1, "oldest": 7300, "unroutable": 1,
}  # fmt: skip
FOUND = {
    "queues": {DEAD: {"total": 5, "selected": 3}},
    "selected": 3,
    "done": 2,
    "summary": [KIND],
    "letters": [LETTER],
}
BROKER = [
    {
        "name": DEAD,
        "messages": 9,
        "messages_ready": 5,
        "messages_unacknowledged": 0,
        "policy": f"celery_fleet.{DEAD}",
    }
]


def test_a_selection_is_a_list_or_text_with_commas():
    given = {"pool": ["cpu", "io"], "task": "a.*, b", "id": [], "older-than": 60, "limit": []}
    assert dead_letters_options(given) == [
        "--pool=cpu",
        "--pool=io",
        "--task=a.*",
        "--task=b",
        "--older-than=60",
    ]


def test_the_table_has_queues_then_kinds_then_single_ones():
    assert dead_letters_table(FOUND, BROKER).splitlines() == [
        "dead-letter queue  dead letters  selected  on their way back",
        "cpu_tasks_dead     5             3         4",
        "",
        "task              reason          died in          dead letters  sent back  oldest",
        "shop.train_model  delivery_limit  cpu_ml_training  3             1x         2 h     1 lead to no "
        "queue",
        "",
        "id    task              reason          died in          times  sent back  age",
        "4f1c  shop.train_model  delivery_limit  cpu_ml_training  2      1x         2 h",
        "and 2 more",
    ]


def test_what_a_publisher_wrote_takes_one_line_of_the_table():
    forged = dict.fromkeys(("id", "task", "reason", "queue"), "x\ncpu_tasks_dead  0\x1b]0;x\x07")
    lines = dead_letters_table(FOUND | {"letters": [LETTER | forged], "summary": [KIND | forged]}, BROKER)
    assert len(lines.splitlines()) == 9
    assert all(line.isprintable() for line in lines.split("\n"))


def test_a_queue_that_would_drop_what_is_sent_back_is_a_fault():
    way_back = {
        "overflow": "reject-publish",
        "dead-letter-exchange": "cpu_tasks",
        "dead-letter-strategy": "at-least-once",
    }
    topology = {"policies": [{"name": f"celery_fleet.{DEAD}", "definition": way_back}]}

    def faults(**definition: str) -> list[str]:
        policies = [{"name": f"celery_fleet.{DEAD}", "definition": json.dumps(definition)}]
        return dead_letters_faults(BROKER, policies, topology, {DEAD: ["cpu"]})

    assert faults(**way_back) == []
    assert faults(**{**way_back, "dead-letter-exchange": "other"}) == [
        "cpu_tasks_dead: dead-letter-exchange is 'other' instead of 'cpu_tasks'; "
        "run playbooks/broker.yml first"
    ]
    assert len(faults()) == 3
    assert len(dead_letters_faults([], [], topology, {DEAD: ["cpu"]})) == 3


def test_what_was_done_is_said_with_what_is_left():
    assert dead_letters_done(FOUND, "send_back", BROKER) == (
        "2 dead letters sent back; 1 stay, because their key leads to no queue of the fleet: give "
        "dead_letters_to; still on their way, or waiting for room in their queue: 4 of cpu_tasks_dead"
    )
    assert dead_letters_done(FOUND, "delete", BROKER) == "2 dead letters deleted"
    assert (
        dead_letters_done(FOUND, "export", BROKER, "/root/dead.jsonl")
        == "3 dead letters written to /root/dead.jsonl"
    )
