"""What lies at an old broker may be anything: it is a task, or it is named and stays."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleet_files import document

from celery_fleet import fleet_file
from celery_fleet.operator.move_in.options import MoveInError, read_options
from celery_fleet.operator.move_in.task import Addresses, Place, Task, UnreadableError, read, read_redis

PLACE = Place("id-1", "celery", "celery")
HEADERS = {"task": "shop.send_email", "id": "4f1c", "eta": None, "timelimit": [None, None]}


def raw(body: bytes = b'[[], {}, {"callbacks": null}]', **changes: Any) -> bytes:
    """A message as kombu writes it to Redis."""
    properties = {"body_encoding": "base64", "correlation_id": "4f1c", "priority": 3, "delivery_tag": "t"}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": HEADERS,
        "properties": properties,
    }
    return json.dumps(message | changes).encode()


def task(**headers: Any) -> Task:
    return read_redis(raw(headers=HEADERS | headers), PLACE, 10_000)


def test_a_message_keeps_what_is_in_it_but_for_the_priority_of_redis() -> None:
    found = task()
    message = found.message()
    assert (found.name, found.eta, message.body) == (
        "shop.send_email",
        None,
        b'[[], {}, {"callbacks": null}]',
    )
    assert message.properties["message_id"] == "id-1"
    assert message.properties["delivery_mode"] == 2
    assert message.properties["correlation_id"] == "4f1c"
    assert "priority" not in message.properties
    headers: Mapping[str, Any] = message.properties["application_headers"]
    assert {**headers, **HEADERS} == headers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"[" * 100_000,
        b"[]",
        b'{"body": 1, "properties": {}}',
        raw(headers=None),
        raw(headers={"task": 1, "id": "x"}),
        raw(headers=HEADERS | {"eta": "soon"}),
        raw(headers=HEADERS | {"huge": 2**70}),
        raw(headers=HEADERS | {"args": "x"}, body=b"[1]"),
        raw(body=b"x" * 20_000),
        raw(**{"content-type": "application/x-python-serialize"}, headers={"task": "x"}),
    ],
    ids=range(12),
)
def test_what_is_no_task_is_told_from_one(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_redis(content, PLACE, 10_000)


VALUES = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_nothing_else_is_raised_of_what_strangers_wrote(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_redis(content, PLACE, 10_000)


def test_a_pickled_task_is_moved_without_being_unpickled() -> None:
    found = read(PLACE, b"\x80\x05", HEADERS, {"content_type": "application/x-python-serialize"}, 100)
    assert found.body == b"\x80\x05"


def test_a_queue_of_the_fleet_counts_then_a_hint_then_the_name(tmp_path: Any) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(document(secrets=str(tmp_path), nodes=(("broker", 5672),))))
    fleet = fleet_file.load(str(path))
    addresses = Addresses(fleet, {"celery": ""})
    assert addresses.of(task()) == ("io_email_sending", "io.email")
    assert addresses.of(task(fleet_resource="cpu")) == ("cpu_data_analysis", "cpu.analysis")
    assert Addresses(fleet, {"celery": "io_api_calls"}).of(task()) == ("io_api_calls", "io.api")
    later = task(eta="2999-01-01T00:00:00")
    queue, key = addresses.of(later)
    # More bits than there are no delay has.
    assert (queue, key) == ("io_email_sending", "1." * 28 + "io.email")
    assert addresses.named(key) == queue
    soon = Task("i", "p", "celery", "shop.x", b"", {}, {}, eta=time.time() - 1)
    assert addresses.of(soon)[1] == "general.background"


@pytest.mark.parametrize("text", ["", "[]", '{"other": 1, "source": "redis://:secret@h"}', "{"])
def test_options_that_are_none_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(MoveInError) as failure:
        read_options(text)
    assert "secret" not in str(failure.value)
