"""Whatever is in a dead letter, it can be listed, chosen, exported and deleted, and the others beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from amqp import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_fleet.fleet import Fleet
from celery_fleet.operator.dead_letters.letters import Found, Selection, exported, read_letter

NOW = 1_800_000_000.0

texts = st.text(max_size=10) | st.sampled_from(
    ["io_tasks_dead", "io_api_calls", "\x1b]0;x\x07\nforged", "\ud800"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=10)
    | st.datetimes()
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
deaths = st.fixed_dictionaries(
    {},
    optional={
        "queue": texts | values,
        "reason": st.sampled_from(["rejected", "delivery_limit"]) | values,
        "count": st.integers(-3, 2**63 - 1) | values,
        "time": st.datetimes() | values,
        "exchange": values,
    },
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "id": texts | values,
        "task": texts | values,
        "x-death": st.lists(deaths | values, max_size=3) | values,
        "own": values,
    },
)


def letter(headers: Any, body: bytes | str, key: str, properties: dict[str, Any]) -> Message:
    message = Message(body, application_headers=headers, **properties)
    message.delivery_info = {"routing_key": key, "delivery_tag": 1, "exchange": "io_tasks_dead"}
    return message


@settings(max_examples=200)
@given(
    headers=headers | st.none(),
    body=st.binary(max_size=20) | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    key=texts | st.just("io.api"),
    properties=st.dictionaries(st.sampled_from(["content_type", "message_id", "reply_to", "type"]), texts),
)
def test_any_letter_is_listed_chosen_and_exported(
    fleet: Fleet, headers: Any, body: bytes | str, key: str, properties: dict[str, Any]
) -> None:
    name = "io_tasks_dead"
    message = letter(headers, body, key, properties)
    read = read_letter(fleet, name, message)
    innocent = read_letter(
        fleet,
        name,
        letter(
            {
                "id": "a",
                "task": "shop.work",
                "x-death": [
                    {"queue": "io_api_calls", "reason": "rejected", "count": 1, "time": datetime(2026, 1, 1)}
                ],
            },
            b"[]",
            "io.api",
            {},
        ),
    )
    line = json.dumps(exported(message, read))
    assert "\n" not in line and json.loads(line)["key"] == read.key
    found = Found({name: 2}, (read, innocent)).as_dict(now=NOW)
    assert json.loads(json.dumps(found))["selected"] == 2
    # It can be meant by its key alone, whatever else is chosen.
    for selection in (
        Selection(keys=frozenset({read.key})),
        Selection(ids=["a"], tasks=["shop.*"], reasons=["rejected"], older_than=1),
        Selection(queues=[name], limit=1),
    ):
        assert selection.fits(read, NOW) in (True, False)
    assert Selection(keys=frozenset({read.key})).fits(read, NOW)
    assert Selection(ids=["a"], tasks=["shop.*"], reasons=["rejected"], older_than=1).fits(innocent, NOW)
    assert asdict(innocent)["returns_to"] is not None
