from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection
from support.vhost import Vhost, temporary_vhost

import celery_fleet

FULL = "general_scheduled"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, which would make room in a full queue."""
    with temporary_vhost(tmp_path_factory.mktemp("p")) as vhost:
        yield vhost


@pytest.fixture
def full_queue(vhost: Vhost) -> Any:
    """A queue with room for two that refuses more, and is empty again afterwards."""
    vhost.policy(FULL, **{"max-length": 2, "overflow": "reject-publish"})
    yield FULL
    vhost.management.call("DELETE", "policies", vhost.name, FULL)
    vhost.management.call("DELETE", "queues", vhost.name, FULL, "contents")


def _fill(app: Any) -> None:
    # A quorum queue enforces its limit a message or two late.
    with pytest.raises(celery_fleet.QueueFullError):
        for _ in range(10):
            app.send_task("work", ("filler",), queue=FULL)


def test_a_key_that_leads_nowhere_raises(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    app = vhost.client(monkeypatch)
    with pytest.raises(celery_fleet.UnroutableError, match="cpu_tasks has no queue for key nowhere"):
        app.send_task("work", ("lost",), exchange="cpu_tasks", routing_key="nowhere")


def test_so_does_one_with_a_delay(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    app = vhost.client(monkeypatch)
    with pytest.raises(celery_fleet.UnroutableError):
        app.send_task("work", ("lost",), exchange="cpu_tasks", routing_key="nowhere", countdown=60)


def test_a_full_queue_raises_after_the_patience(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, full_queue: str
) -> None:
    _fill(vhost.client(monkeypatch, patience=0))
    app = vhost.client(monkeypatch, patience=2)
    started = time.monotonic()
    with pytest.raises(celery_fleet.QueueFullError, match="is full and was so for 2 s"):
        app.send_task("work", ("late",), queue=full_queue)
    assert 2 <= time.monotonic() - started < 30


def test_large_tasks_fill_a_queue_before_its_length(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, full_queue: str
) -> None:
    vhost.policy(full_queue, **{"max-length": 10_000, "max-length-bytes": 200, "overflow": "reject-publish"})
    _fill(vhost.client(monkeypatch, patience=0))


def test_a_task_gets_in_when_there_is_room_in_time(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, full_queue: str
) -> None:
    app = vhost.client(monkeypatch, patience=10)
    _fill(vhost.client(monkeypatch, patience=0))
    purge = threading.Timer(
        1, vhost.management.call, ("DELETE", "queues", vhost.name, full_queue, "contents")
    )
    purge.start()
    started = time.monotonic()
    app.send_task("work", ("late",), queue=full_queue)
    assert time.monotonic() - started >= 0.9
    purge.join()
    assert vhost.ready_messages(full_queue) == 1


def test_overflow_refuses_the_publisher_and_loses_nothing(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, full_queue: str
) -> None:
    """Four publishers at once: what was accepted is there, once, and what was refused is not."""
    accepted: list[str] = []
    refused: list[str] = []
    app = vhost.client(monkeypatch, patience=0)

    def publish() -> None:
        for _ in range(25):
            task_id = uuid.uuid4().hex
            try:
                app.send_task("work", ("numbered",), queue=full_queue, task_id=task_id)
            except celery_fleet.QueueFullError:
                refused.append(task_id)
            else:
                accepted.append(task_id)

    publishers = [threading.Thread(target=publish) for _ in range(4)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert len(accepted) + len(refused) == 100
    assert accepted, "there was room for two"
    assert refused, "and not for a hundred"
    found = []
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()
        while message := channel.basic_get(full_queue, no_ack=True):
            found.append(message.headers["id"])
    assert sorted(found) == sorted(accepted)


def test_a_return_does_not_confirm_the_next_message(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, full_queue: str
) -> None:
    """One channel for all: the confirmation of a returned message must not be taken for another's."""
    app = vhost.client(monkeypatch, patience=0)
    _fill(app)
    with app.producer_or_acquire() as producer:
        for _ in range(3):
            with pytest.raises(celery_fleet.UnroutableError):
                app.send_task("work", exchange="cpu_tasks", routing_key="nowhere", producer=producer)
            with pytest.raises(celery_fleet.QueueFullError):
                app.send_task("work", queue=full_queue, producer=producer)


def test_a_client_may_not_read(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    app = vhost.client(monkeypatch)
    with (
        app.connection_for_write() as connection,
        pytest.raises(connection.channel_errors, match="ACCESS_REFUSED"),
    ):
        connection.channel().basic_get(FULL)
