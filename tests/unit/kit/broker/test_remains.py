"""What keeps a former broker from being stopped."""

from fleet.broker.counts import Counts
from fleet.broker.remains import remains


def test_messages_workers_and_connections_are_named_and_what_nobody_misses_is_not():
    held = {
        "io_api_calls": Counts(3, 1, 2, 1),
        "io_tasks_dead": Counts(0, 0, 0, 0),
        "fleet_verify": Counts(1, 1, 0, 0),
        "cpu_worker_1@host.celery.pidbox": Counts(0, 0, 0, 1),
        "memory_reports": None,
    }
    # As RabbitMQ writes it where it listens on IPv6, too.
    at = {"peer_host": [0, 0, 0, 0, 0, 65535, 10 * 256, 7], "vhost": "celery_fleet"}
    connections = [
        {"user": "client", **at},
        {"user": "client", **at, "peer_host": [10, 0, 0, 7]},
        {"user": "client", **at, "peer_host": "10.0.0.7"},
        {"user": "kit", **at},
        {"user": "client", **at, "vhost": "another"},
    ]
    assert remains(held, connections, "celery_fleet").sentences == [
        "io_api_calls: 1 ready message, 2 unacknowledged messages, 1 consumer",
        "memory_reports: cannot be counted now: is its node up?",
        "client is connected from 10.0.0.7 (3 connections)",
    ]


def test_nothing_is_left():
    assert remains({"io_api_calls": Counts(0, 0, 0, 0)}, [], "celery_fleet").sentences == []
