"""What a move is asked for, and how its result is shown."""

import pytest
from ansible_collections.celery_fleet.kit.plugins.filter.move_in import move_in_queues, move_in_table


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", None),
        ([], None),
        ("celery, mail", {"celery": "", "mail": ""}),
        (["celery"], {"celery": ""}),
        ({"mail": "io_email_sending", "celery": None}, {"mail": "io_email_sending", "celery": ""}),
    ],
)
def test_queues_are_a_list_a_text_or_a_mapping(given, expected):
    assert move_in_queues(given) == expected


def test_what_was_there_what_is_left_and_where_it_went():
    result = {
        "before": {"celery": 12, "mail": 1},
        "after": {"celery": 0, "mail": 1},
        "moved": {"io_api_calls": 12},
        "notes": ["mail: a message stays: is no message of Celery's"],
    }
    assert move_in_table(result).splitlines() == [
        "at the old broker  before  after",
        "celery             12      0",
        "mail               1       1",
        "",
        "queue of the fleet  tasks",
        "io_api_calls        12",
        "mail: a message stays: is no message of Celery's",
    ]
