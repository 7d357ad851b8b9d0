"""Messages that no worker can run, between tasks that it can: those run once, the others are dead letters."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from amqp import Message
from kombu import Connection
from support.vhost import Vhost, temporary_vhost, wait_for

QUEUE, EXCHANGE, KEY = "general_background", "general_tasks", "general.background"
DEAD = f"{EXCHANGE}_dead"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("m")) as vhost:
        yield vhost


class Raw(Message):
    """A message with properties that py-amqp would not write."""

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def _table(entries: bytes) -> bytes:
    """Return a message's properties that are headers only."""
    return b"\x20\x00" + pack(">I", len(entries)) + entries


GOOD = {"task": "work", "id": "0", "lang": "py", "retries": 0, "timelimit": [None, None]}
BODY: list[Any] = [["broken"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
DEEP = json.loads("[" * 100 + "]" * 100)

FIELDS: list[dict[str, Any]] = [
    *({"timelimit": value} for value in ("x", "xy", 5, [1], ["1", "2"], [-1, None], [2**40, None], {}, True)),
    *({"retries": value} for value in ("x", -1, 1.5)),
    *({"eta": value} for value in ("soon", 5, "2026-13-45")),
    *({"expires": value} for value in ("garbage", 5, [], "9999-99-99T00:00:00")),
    *({"task": value} for value in (5, ["work"], {}, "", "nobody.has.it", None)),
    *({"id": value} for value in (5, ["a"], {}, "", None)),
    *(
        {"root_id": 5},
        {"group": [1]},
        {"shadow": {}},
        {"argsrepr": 3},
        {"stamps": "x"},
        {"stamped_headers": "x"},
    ),
    *(
        {"get": "x"},
        {"update": 1},
        {"headers": "x"},
        {"_children": 1},
        {"compression": "bogus"},
        {"own": DEEP},
    ),
]
BODIES = [
    *(
        "",
        "null",
        "5",
        '"args"',
        "[]",
        "[[], {}]",
        "[5, {}, {}]",
        "[[], [], {}]",
        "[[], {}, []]",
        "{",
        "[" * 5000,
    ),
    *(
        '[[], {}, {"chain": "x"}]',
        '[[], {}, {"callbacks": [5]}]',
        '[[], {}, {"id": "b"}]',
        '{"a": 1, "b": 2, "c": 3}',
    ),
]
RAW = [
    _table(b"\x02atT" + pack(">Q", 10**12)),
    _table(b"\x02atT" + pack(">Q", 10**18)),
    _table(b"\x02\xff\xfet\x01"),
    b"\x80\x00\x02\xff\xfe",
]


def _bomb(mib: int) -> bytes:
    """Return a body of so many KiB that inflates to so many MiB, without its end."""
    deflate = zlib.compressobj()
    first, other = (deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * (mib - 1)


def _broken() -> list[Message]:
    json_type = {"content_type": "application/json", "content_encoding": "utf-8"}
    return [
        *(Message(json.dumps(BODY), application_headers={**GOOD, **field}, **json_type) for field in FIELDS),
        *(Message(body, application_headers=GOOD, **json_type) for body in BODIES),
        *(Raw(json.dumps(BODY).encode(), properties) for properties in RAW),
        Message(json.dumps(BODY), application_headers={}, **json_type),
        Message(json.dumps({"task": "work", "id": 5}), **json_type),
        Message(json.dumps({"task": "work", "id": "1", "args": 5}), **json_type),
        Message("x", application_headers=GOOD, content_type="application/x-python-serialize"),
        Message(b"x", application_headers=GOOD, content_type="text/plain", content_encoding="klingon"),
        Message(b"\xff\xfe", application_headers=GOOD, content_type="application/json"),
        Message(_bomb(1024), application_headers={**GOOD, "compression": "gzip"}, **json_type),
    ]


def _most_memory(process: int) -> int:
    """Return the KiB that a process had at most."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_broken_messages_die_alone(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    worker = vhost.worker(
        "general", "--pool", pool, "--concurrency", "2", "--prefetch-multiplier", "4"
    ).ready()
    app, broken = vhost.client(monkeypatch), _broken()
    labels = [f"good-{pool}-{number}" for number in range(len(broken) + 1)]
    try:
        with Connection(vhost.admin_url) as connection:
            channel = connection.channel()
            for label, message in zip(labels, broken, strict=False):
                app.send_task("work", (label,), queue=QUEUE)
                channel.basic_publish(message, EXCHANGE, KEY)
            app.send_task("work", (labels[-1],), queue=QUEUE)
        wait_for(lambda: vhost.ready_messages(DEAD) == len(broken), 60, f"{len(broken)} dead letters")
        wait_for(lambda: all(vhost.events(label)["end"] for label in labels), 60, "the end of the good ones")
        assert [len(vhost.events(label)["start"]) for label in labels] == [1] * len(labels)
        worker.reaches(active=[], reserved=0, executed=len(labels), failed=0)
        assert vhost.ready_messages(QUEUE) == 0
        assert worker.systemd.count("READY=1") == 1
        log = worker.log.read_text()
        assert log.count("is a dead letter now") == len(broken)
        assert "without its compression" in log
        assert _most_memory(worker.process.pid) < 256 * 1024
        listed = vhost.command("dead-letters", "list")
        assert listed.returncode == 0, listed.stderr
        assert json.loads(listed.stdout)["selected"] == len(broken)
        assert worker.stop() == 0
    finally:
        vhost.purge(DEAD)
        vhost.purge(QUEUE)
