"""What py-amqp cannot decode reaches the receiver nevertheless, as a message that says so."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec
from amqp.basic_message import Message
from amqp.serialization import dumps
from hypothesis import example, given
from hypothesis import strategies as st

from celery_fleet.frames import UNREADABLE, tolerant_frame_handler

HEADERS_FLAG = b"\x20\x00"  # the third property


def received(properties: bytes, body: bytes = b"", key: bytes = b"io.api") -> tuple[bytes, Any]:
    """Receive a message of these bytes, and return its delivery's arguments and itself."""
    got: list[tuple[bytes, Any]] = []
    handle = tolerant_frame_handler(
        SimpleNamespace(bytes_recv=0),
        lambda _channel, _method, arguments, content: got.append((arguments, content)),
    )
    delivery = pack(">HH", *spec.Basic.Deliver) + dumps("sLbs", ("tag", 7, False, "io_tasks"))
    handle((1, 1, delivery + bytes([len(key)]) + key))
    handle((2, 1, pack(">HxxQ", 60, len(body)) + properties))
    if body:
        handle((3, 1, body))
    assert len(got) == 1
    return got[0]


def table(entries: bytes) -> bytes:
    return HEADERS_FLAG + pack(">I", len(entries)) + entries


def nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"A" + pack(">I", len(value)) + value
    return value


def test_a_whole_message_is_what_it_was() -> None:
    properties = Message(application_headers={"id": "x"}, content_type="text/plain")._serialize_properties()
    _, message = received(properties, b"body")
    assert message.properties == {"application_headers": {"id": "x"}, "content_type": "text/plain"}
    assert message.body == b"body"


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (table(b"\x01aT" + pack(">Q", 10**12)), "year"),
        (table(b"\x01aT" + pack(">Q", 10**18)), "OSError"),
        (table(b"\x01a?"), "Unknown value in table"),
        (table(b"\x01aS\xff\xff\xff\xff"), ""),
        (table(b"\x01a" + nested(3000)), "recursion"),
        (b"\x80\x00\x02\xff\xfe", "utf-8"),
        (b"\x80", ""),
    ],
)
def test_properties_that_cannot_be_decoded_are_replaced_by_the_reason(properties: bytes, reason: str) -> None:
    _, message = received(properties, b"body")
    told = message.properties.get("application_headers", {}).get(UNREADABLE, "")
    assert reason in told
    assert message.body == b"body"


def test_a_key_that_is_no_text_is_replaced() -> None:
    arguments, _ = received(b"\x00\x00", key=b"\xff\xfe.io.api")
    assert arguments.endswith(b"\x0b??.io.api") or arguments.endswith(b"\x09??.io.api")


def test_headers_are_readable_twice_or_not_at_all() -> None:
    """Wherever Python's limit of recursion is met: in the try or, a few calls further down, in earnest."""
    for depth in range(850, 1001):
        _, message = received(table(b"\x01a" + nested(depth)))
        assert len(message.properties) == 1


@given(properties=st.binary(), key=st.binary(max_size=255), body=st.binary(max_size=10))
@example(properties=b"", key=b"", body=b"")
def test_no_bytes_end_a_connection(properties: bytes, key: bytes, body: bytes) -> None:
    _, message = received(properties, body, key)
    assert isinstance(message.properties, dict)
