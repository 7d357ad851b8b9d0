"""An application with odd settings, whose workers `fleet` starts: what is allowed works by its rights."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from support.odd_settings import ODD
from support.vhost import START, Vhost, Worker, wait_for

import celery_fleet

QUEUE = "io_api_calls"


def test_its_workers_say_once_what_counts_no_more(fleet: dict[str, Worker]) -> None:
    for worker in fleet.values():
        log = worker.log.read_text()
        assert log.count("The fleet replaces these settings of the application:") == 1
        assert "task_send_sent_event" in log
        assert "broker_transport_options.visibility_timeout" in log
        for allowed in ("task_track_started", "worker_send_task_events", "worker_deduplicate"):
            assert allowed not in log


def test_its_publishers_keep_their_channel(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, fleet: dict[str, Worker]
) -> None:
    app = vhost.client(monkeypatch, **ODD)
    with app.producer_or_acquire() as producer:
        channel = producer.channel
        labels = [uuid.uuid4().hex for _ in range(5)]
        for label in labels:
            app.send_task("work", (label,), queue=QUEUE, producer=producer)
        assert producer.channel is channel
        assert channel.is_open
    assert not app.amqp._event_dispatcher._outbound_buffer
    for label in labels:
        wait_for(lambda label=label: vhost.events(label)["end"], 60, "the end of a pickled task")


@pytest.mark.parametrize("limit", [None, 0, 1])
def test_any_number_of_connections_publishes(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, fleet: dict[str, Worker], limit: int | None
) -> None:
    label = uuid.uuid4().hex
    app = vhost.client(monkeypatch, broker_pool_limit=limit)
    for _ in range(3):
        app.send_task("work", (label,), queue=QUEUE)
    wait_for(lambda: len(vhost.events(label)["end"]) == 3, 60, "three tasks")


def test_its_workers_send_events_and_its_publishers_none(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, fleet: dict[str, Worker]
) -> None:
    seen: list[dict[str, Any]] = []

    def note(body: Any, _message: object) -> None:
        seen.extend(body if isinstance(body, list) else [body])

    exchange = Exchange("celeryev", type="topic", no_declare=True)
    with Connection(vhost.admin_url) as connection:
        queue = Queue(uuid.uuid4().hex, exchange, routing_key="#", exclusive=True, durable=False)
        with connection.Consumer(queue, callbacks=[note], no_ack=True):
            task = vhost.client(monkeypatch, **ODD).send_task("work", ("observed",), queue=QUEUE).id
            end = time.monotonic() + 20
            while "task-succeeded" not in {each["type"] for each in seen if each.get("uuid") == task}:
                assert time.monotonic() < end, seen
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)
    assert "task-sent" not in {each["type"] for each in seen}


def test_workers_control_each_other_and_clients_nobody(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, fleet: dict[str, Worker]
) -> None:
    worker = vhost.client(monkeypatch, pool="general", **ODD)
    answers = worker.control.ping(timeout=START, limit=len(fleet))
    assert len(answers) == len(fleet)
    client = vhost.client(monkeypatch, **ODD)
    with pytest.raises(celery_fleet.ControlRefusedError, match="The broker refuses `revoke`"):
        client.control.revoke("nobody")
    client.send_task("work", ("afterwards",), queue=QUEUE)
    wait_for(lambda: vhost.events("afterwards")["end"], 60, "a task after the refusal")


def test_a_worker_with_results_in_the_broker_ends_with_the_remedy(vhost: Vhost) -> None:
    worker = vhost.worker("io", environment={"TEST_RESULTS": "rpc://"})
    assert worker.process.wait(START) == 1
    assert "result_backend = rpc://: Refused" in (log := worker.log.read_text())
    assert "Redis, Valkey" in log
