"""Whatever is in a message, the worker goes on: the message is started, or a dead letter at once."""

from __future__ import annotations

import bz2
import itertools
import json
import logging
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.basic_message import Message as AmqpMessage
from celery import Celery
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kombu.transport.pyamqp import Message
from support.worker_parts import Channel

from celery_fleet.fleet import MAX_MESSAGE_SIZE as LARGEST
from celery_fleet.fleet import Fleet
from celery_fleet.worker import envelope
from celery_fleet.worker.intake import clean

TASK = "shop.work"
GOOD = {"lang": "py", "task": TASK, "id": "5e1c", "root_id": "5e1c", "retries": 0, "timelimit": [None, None]}
BODY = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
PROTOCOL_1 = {"task": TASK, "id": "5e1c", "args": [], "kwargs": {}}
tags = itertools.count(1)


def _work(*_: object, **__: object) -> None:
    """Nobody runs it here."""


@pytest.fixture
def worker(make_app: Callable[..., Celery], make_worker: Callable[..., Any]) -> Any:
    """A worker that takes tasks, one of them of the application's."""
    app = make_app("io")
    app.task(_work, name=TASK, shared=False)
    worker = make_worker(app)
    worker.condition.slots = 10**6
    worker.condition.connected = worker.condition.proved = worker.condition.consuming = True
    worker.slots.fit_gate()
    worker.update_strategies()
    return worker


def deliver(worker: Any, headers: Any, body: Any = BODY, **properties: object) -> str:
    """Have a worker receive a message, and return what became of it."""
    channel, tag = Channel(), next(tags)
    told = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
    raw = AmqpMessage(
        body if isinstance(body, str | bytes) else json.dumps(body), application_headers=headers, **told
    )
    raw.delivery_info = {
        "consumer_tag": "1",
        "delivery_tag": tag,
        "redelivered": False,
        "exchange": "io_tasks",
        "routing_key": "io.api",
    }
    message = Message(raw, channel=channel, accept={"application/json"})
    before = len(worker.pool.given)
    if message.errors:
        message._reraise_error(worker.on_decode_error)
    else:
        worker.create_task_handler()(message)
    started = len(worker.pool.given) - before
    assert channel.acknowledged == []
    if channel.rejected:
        assert channel.rejected == [(tag, False)]
        assert started == 0
        return "refused"
    return "started" if started else "waiting"


def test_a_whole_message_is_started(worker: Any) -> None:
    assert deliver(worker, GOOD) == "started"
    assert deliver(worker, {}, PROTOCOL_1) == "started"
    assert deliver(worker, GOOD, {"args": [1], "kwargs": {"a": 2}}) == "started"
    assert (
        deliver(worker, {**GOOD, "x-own": {"a": [1, None, Decimal("0.5"), datetime(2026, 1, 1)]}})
        == "started"
    )
    assert deliver(worker, {**GOOD, "timelimit": [30, 20.5], "retries": 3, "expires": None}) == "started"
    assert deliver(worker, {**GOOD, "expires": "2999-01-01T00:00:00+00:00"}) == "started"


def test_what_celery_publishes_is_whole(worker: Any) -> None:
    app = worker.app
    task = app.tasks[TASK]
    calls: list[dict[str, Any]] = [
        {},
        {"countdown": 1},
        {"expires": 60, "time_limit": 5, "soft_time_limit": 4, "shadow": "other", "priority": 3},
        {"callbacks": [task.s(1)], "errbacks": [task.s()], "chain": [task.s(), task.si(2)]},
        {"chord": task.s(), "group_id": "g", "group_index": 3, "retries": 2, "parent_id": "p"},
        {"stamped_headers": ["stamp"], "stamp": "x"},
    ]
    for version, call in itertools.product((app.amqp.as_task_v2, app.amqp.as_task_v1), calls):
        options = {**call}
        if version == app.amqp.as_task_v1:
            options = {name: value for name, value in call.items() if "stamp" not in name}
        headers, _, body, _ = version("5e1c", TASK, (1,), {"a": 2}, **options)
        raw = AmqpMessage(json.dumps(body), application_headers=headers, content_type="application/json")
        raw.delivery_info = {"delivery_tag": 1}
        envelope.check(Message(raw, channel=Channel(), accept={"application/json"}))


BROKEN_FIELDS: dict[str, list[Any]] = {
    "task": [5, None, "", ["a"], {}, b"x", "not.registered", "half \ud800"],
    "id": [json.loads("[" * 900 + "]" * 900), 5, None, "", ["a"], {}, "half \ud800"],
    "timelimit": [
        "x",
        "xy",
        5,
        [1],
        [1, 2, 3],
        ["1", "2"],
        [-1, None],
        [float("inf"), None],
        [True, None],
        {},
    ],
    "retries": ["x", -1, 1.5, [], 2**40],
    "eta": ["soon", 5, "2026-13-45", {}, b"2026"],
    "expires": ["garbage", 5.5, [], "9999-99-99T00:00:00"],
    "root_id": [5, []],
    "parent_id": [{}],
    "group": [7],
    "group_index": ["first"],
    "shadow": [["a"], 3],
    "argsrepr": [{}],
    "stamps": ["x", [1]],
    "stamped_headers": ["x", [1], {}],
    "headers": ["x"],
    "get": ["a method of the request"],
    "_children": ["x"],
    "update": [None],
    "replaced_task_nesting": ["deep"],
    "compression": ["bogus", "application/x-gzip", ["gzip"]],
    "deep": [json.loads("[" * 900 + "]" * 900), json.loads("[" * 60 + "]" * 60)],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BROKEN_FIELDS.items() for value in values]
)
def test_a_broken_field_is_refused(
    worker: Any, caplog: pytest.LogCaptureFixture, name: str, value: Any
) -> None:
    assert deliver(worker, {**GOOD, name: value}) == "refused"
    assert "is a dead letter now" in caplog.text
    assert deliver(worker, GOOD) == "started"


@pytest.mark.parametrize(
    "body",
    [
        *(
            "",
            "null",
            "5",
            '"args"',
            "[]",
            "[1, 2]",
            "[[], {}]",
            "[[], {}, {}, {}]",
            "{",
            "\xff",
            b"\xff\xfe",
        ),
        *('{"a": 1, "b": 2, "c": 3}', '["a", "b", "c"]', "[[], [], {}]", "[{}, {}, {}]", "[[], {}, []]"),
        *('[[], {}, {"id": "other"}]', '[[], {}, {"chain": "x"}]', '[[], {}, {"callbacks": [5]}]'),
        *('[[], {}, {"chord": []}]', '[[], {}, {"errbacks": ["x"]}]', "[" * 100_000),
        *('{"args": 5, "kwargs": {}}', '{"args": [], "kwargs": []}', "9" * 10_000),
    ],
)
def test_a_broken_body_is_refused(worker: Any, body: str | bytes) -> None:
    assert deliver(worker, GOOD, body) == "refused"


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"task": 5},
        {"id": None},
        {"args": 5},
        {"kwargs": []},
        {"eta": "x"},
        {"timelimit": "xy"},
    ],
)
def test_protocol_1_is_checked_too(worker: Any, change: dict[str, Any]) -> None:
    assert deliver(worker, {}, {**PROTOCOL_1, **change}) == "refused"
    assert deliver(worker, {}, {"no": "task"}) == "refused"


@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "application/x-python-serialize"},
        {"content_type": "unknown/unknown"},
        {"content_type": None},
        {"content_type": "text/plain", "content_encoding": "klingon"},
    ],
)
def test_content_that_is_not_accepted_is_refused(worker: Any, properties: dict[str, Any]) -> None:
    assert deliver(worker, GOOD, "x", **properties) == "refused"


def test_a_body_that_inflates_beyond_the_limit_is_refused(
    worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {**GOOD, "compression": "application/x-gzip"}
    assert deliver(worker, headers, zlib.compress(json.dumps(BODY).encode())) == "started"
    assert deliver(worker, headers, zlib.compress(bytes(LARGEST + 1))) == "refused"
    assert f"larger than {LARGEST} bytes" in caplog.text


def test_the_reason_is_one_line_of_the_log(worker: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    forged = "x\n2026-01-01 ERROR forged \x1b[31m\u2028"
    deliver(worker, {**GOOD, "id": forged, "eta": forged})
    deliver(worker, {**GOOD, "id": ["\n"], "task": forged})
    for record in caplog.records:
        assert record.getMessage().isprintable()


def test_a_task_that_the_pool_cannot_take_is_refused_alone(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = worker.pool.apply_async
    failing = iter([TypeError("no number"), None])

    def apply_async(*args: Any, **options: Any) -> Any:
        if error := next(failing):
            raise error
        return give(*args, **options)

    monkeypatch.setattr(worker.pool, "apply_async", apply_async)
    worker.update_strategies()
    worker.gate.set(slots=2, is_open=False)
    assert deliver(worker, GOOD) == deliver(worker, {**GOOD, "id": "second"}) == "waiting"
    first, second = (request.message for request in worker.gate._waiting)
    worker.gate.set(slots=2, is_open=True)
    assert [request.id for request in worker.gate.running] == ["second"]
    worker.perform_pending_operations()
    assert first.channel.rejected == [(first.delivery_tag, False)]
    assert second.channel.rejected == []


def test_a_pool_that_cannot_run_any_task_is_not_the_messages_fault(worker: Any) -> None:
    def apply_async(*_: object, **__: object) -> None:
        raise OSError("no process")

    worker.pool.apply_async = apply_async
    worker.update_strategies()
    with pytest.raises(OSError):
        deliver(worker, GOOD)


def test_a_command_is_never_rejected(worker: Any) -> None:
    """Its consumer acknowledges nothing; the broker would close the channel."""
    channel = Channel()
    channel.no_ack_consumers = frozenset({"pidbox"})
    raw = AmqpMessage("{", content_type="application/json")
    raw.delivery_info = {"consumer_tag": "pidbox", "delivery_tag": 1, "routing_key": ""}
    worker.on_decode_error(Message(raw, channel=channel), ValueError("no JSON"))
    assert channel.rejected == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.datetimes()
    | st.decimals()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
names = st.sampled_from([*BROKEN_FIELDS, "callbacks", "chord", "args", "kwargs", "delivery_info"]) | st.text()
protocol_1 = st.builds(
    lambda odd: {**PROTOCOL_1, **odd},
    st.dictionaries(st.sampled_from([*PROTOCOL_1, *BROKEN_FIELDS]), json_values),
)
bodies = (
    st.binary() | json_values | st.tuples(json_values, json_values, json_values) | st.just(BODY) | protocol_1
)
compressions = st.sampled_from([None, None, "application/x-gzip", "application/x-bz2", "zstd", "bogus"])


def test_a_task_is_given_to_the_pool_with_limits_that_its_pool_grants(worker: Any, fleet: Fleet) -> None:
    pool = fleet.pools["io"]
    for asked, granted in (
        ([86_400, 80_000], (pool.time_limit, pool.soft_time_limit)),
        ([None, None], (pool.time_limit, pool.soft_time_limit)),
        ([20, 10], (20, 10)),
    ):
        assert deliver(worker, {**GOOD, "timelimit": asked}) == "started"
        given = worker.pool.given[-1]
        assert (given["timeout"], given["soft_timeout"]) == granted


@settings(max_examples=600)
@given(
    headers=st.dictionaries(names, values, max_size=6),
    body=bodies,
    whole=st.booleans(),
    content_type=st.sampled_from(["application/json", "text/plain", "", None]) | st.text(max_size=20),
    encoding=st.sampled_from(["utf-8", "binary", "base64", "utf-16", None]) | st.text(max_size=10),
    compression=compressions,
    compressed=st.booleans(),
)
@example(
    headers={"task": "x" * 10},
    body=b"",
    whole=True,
    content_type=None,
    encoding=None,
    compression=None,
    compressed=False,
)
def test_no_message_ends_a_worker(
    worker: Any,
    headers: dict[str, Any],
    body: Any,
    whole: bool,
    content_type: str | None,
    encoding: str | None,
    compression: str | None,
    compressed: bool,
) -> None:
    told = {**GOOD, **headers} if whole else headers
    if compression:
        told = {**told, "compression": compression}
    if compressed:
        plain = body if isinstance(body, bytes) else json.dumps(body).encode()
        body = (bz2 if compression == "application/x-bz2" else zlib).compress(plain)
    became = deliver(worker, told, body, content_type=content_type, content_encoding=encoding)
    if became == "started":
        given = worker.pool.given[-1]
        for limit in (given["timeout"], given["soft_timeout"]):
            assert limit is None or 0 <= limit < 2**31
        args, kwargs, _ = (
            json.loads(given["args"][3]) if isinstance(given["args"][3], str | bytes) else given["args"][3]
        )
        assert isinstance(args, list | tuple) and isinstance(kwargs, dict)
    assert deliver(worker, GOOD) == "started"


@given(st.text())
def test_cleaned_text_is_printable(text: str) -> None:
    assert clean(text).isprintable()
