"""Tasks that waited at another broker: none is lost and none doubled, wherever the move is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from fleet.broker import api
from fleet.broker.counts import Counts
from fleet.broker.staging import STAGING, create, remove
from fleet.broker.topology import topology
from kombu import Connection
from support import fleet_model
from support.old_brokers import SERVERS, hold, killed_all_along, later, old_server, publish
from support.vhost import Vhost, temporary_vhost, wait_for

from celery_fleet import fleet_file
from celery_fleet.operator.move_in import amqp_source, mover, staging
from celery_fleet.operator.move_in.options import MoveInError, Options

# What an application has waiting: by the rules, by its queue, by priority, by time, and what is over.
KINDS: dict[str, dict[str, Any]] = {
    "shop.send_email": {},
    "shop.anything": {"queue": "io_api_calls"},
    "shop.urgent": {"queue": "mail", "priority": 0},
    "shop.idle": {"queue": "mail", "priority": 9},
    "shop.fetch_late": {"eta": later(30)},
    "shop.fetch_soon": {"expires": later(1)},
}
MAPPED = {"celery": "", "io_api_calls": "", "mail": "io_email_sending"}
QUEUES = [
    "io_api_calls",
    "io_email_sending",
    "general_background",
    *(f"celery_delayed_{n}" for n in range(28)),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, with the staging queue of a move."""
    with temporary_vhost(tmp_path_factory.mktemp("move")) as vhost:
        admin = vhost.management
        broker = api.Management(admin.base.removesuffix("/api/"), admin.user, admin.password)
        wanted = {**topology(fleet_model.load(), {}), "vhost": vhost.name}
        create(broker, wanted, "another")
        create(broker, wanted, "moves")
        yield vhost
        assert remove(broker, vhost.name, lambda _: {STAGING: Counts(1, 1, 0, 0)}) == 1
        assert remove(broker, vhost.name, lambda _: {STAGING: Counts(0, 0, 0, 0)}) == 0
        left = admin.call("GET", "exchanges", vhost.name) + admin.call("GET", "queues", vhost.name)
        assert not [each for each in left if each["name"].startswith("celery_fleet_move")]


@pytest.fixture(scope="module", params=SERVERS)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis or a Valkey."""
    with old_server(request.param, tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.fixture
def old_vhost(shop: Vhost) -> Iterator[str]:
    """The URL of another virtual host."""
    name = f"{shop.name}_old"
    shop.management.call("PUT", "vhosts", name)
    shop.management.call(
        "PUT", "permissions", name, shop.management.user, configure=".*", write=".*", read=".*"
    )
    yield shop.admin_url.replace(shop.name, name)
    shop.management.call("DELETE", "vhosts", name)


def options(shop: Vhost, source: str, **more: Any) -> Options:
    settings = {"queues": MAPPED, "seconds": 60, **more}
    return Options(source, STAGING, STAGING, STAGING, "moves", **settings)


def move(shop: Vhost, source: str, **more: Any) -> dict[str, Any]:
    fleet = fleet_file.load(str(shop.fleet_file()))
    return mover.move(fleet, options(shop, source, **more), progress=lambda _: None)


def to_the_end(shop: Vhost, source: str, **more: Any) -> dict[str, Any]:
    while not (result := move(shop, source, **more))["done"]:
        pass
    return result


def drain(shop: Vhost, count: int) -> list[Any]:
    """Take so many tasks out of the fleet's queues, and all that come after them."""
    found: list[Any] = []

    def take() -> bool:
        for queue in QUEUES:
            while message := shop.channel.basic_get(queue, no_ack=True):
                found.append((queue, message))
        return len(found) >= count

    wait_for(take, 60, f"{count} tasks")
    # What is doubled would lie behind the others, or still in the staging queue.
    wait_for(lambda: shop.ready_messages(STAGING) == 0, 60, "an empty staging queue")
    take()
    return found


def ids(found: list[Any]) -> Counter[str]:
    return Counter(message.headers["id"] for _, message in found)


# Messages to brokers before which it is killed: two batches.
KILLS = 32


def test_a_move_from_redis_that_is_killed_all_along_loses_and_doubles_nothing(old: str, shop: Vhost) -> None:
    client = redis.Redis.from_url(old)
    sent = publish(old, KINDS, 120)
    for queue in ("celery", "io_api_calls"):
        hold(old, queue, 40)
    assert client.hlen("unacked") == 80
    client.rpush("mail", b"\x80 no task", json.dumps({"body": "", "properties": {}, "headers": {"task": 1}}))
    killed_all_along(lambda: move(shop, old), range(KILLS))
    result = to_the_end(shop, old)
    found = drain(shop, len(sent))
    assert ids(found) == Counter(sent)
    assert [client.llen(name) for name in ("celery", "io_api_calls", "mail")] == [0, 0, 2]
    assert client.hlen("unacked") == client.zcard("unacked_index") == client.hlen("celery_fleet_moving") == 0
    assert len([note for note in result["notes"] if note.startswith("mail: a message stays")]) == 2
    client.flushdb()


def test_a_move_from_another_vhost_that_is_killed_all_along(old_vhost: str, shop: Vhost) -> None:
    sent = publish(old_vhost, {name: KINDS[name] for name in list(KINDS)[:4]}, 150)
    killed_all_along(lambda: move(shop, old_vhost), range(KILLS))
    to_the_end(shop, old_vhost)
    assert ids(drain(shop, len(sent))) == Counter(sent)


def named(found: list[Any]) -> dict[str, set[str]]:
    """The queues in which the tasks of each name were found."""
    queues: dict[str, set[str]] = {}
    for queue, message in found:
        queues.setdefault(message.headers["task"], set()).add(queue)
    return queues


def test_tasks_keep_their_time_their_order_and_what_their_publisher_said(old: str, shop: Vhost) -> None:
    first = publish(old, {"shop.idle": {"queue": "mail", "priority": 9}}, 3)
    urgent = publish(old, {"shop.urgent": {"queue": "mail", "priority": 3}}, 3)
    publish(old, {"shop.fetch_late": {"eta": later(30)}, "shop.fetch_due": {"eta": later(-1)}}, 1)
    publish(old, {"shop.fetch_stale": {"expires": later(1)}, "shop.anything": {"queue": "io_api_calls"}}, 1)
    seen = move(shop, old, look=True)
    assert seen["before"] == seen["after"]
    assert seen["before"]["mail\\x06\\x163"] == seen["before"]["mail\\x06\\x169"] == 3
    assert seen["moved"] == {"io_email_sending": 6, "io_api_calls": 4}
    result = to_the_end(shop, old)
    assert sum(result["after"].values()) == 0
    found = drain(shop, 10)
    assert [m.headers["id"] for queue, m in found if queue == "io_email_sending"] == [*urgent, *first]
    late = named(found)["shop.fetch_late"].pop()
    assert late.startswith("celery_delayed_") and 2 ** int(late.rpartition("_")[2]) <= 30 * 3600
    assert named(found)["shop.fetch_due"] == named(found)["shop.fetch_stale"] == {"io_api_calls"}
    stale = next(m for _, m in found if m.headers["task"] == "shop.fetch_stale")
    assert stale.headers["expires"] and "expiration" not in stale.properties
    assert all(m.properties["delivery_mode"] == 2 for _, m in found)


def test_what_workers_hold_is_taken_only_when_none_is_connected(old: str, shop: Vhost) -> None:
    client = redis.Redis.from_url(old)
    sent = publish(old, {"shop.send_email": {}}, 5)
    hold(old, "celery", 5)
    worker = client.pubsub()
    worker.psubscribe("/3.celery.pidbox")
    wait_for(lambda: worker.get_message(timeout=1), 60, "a worker that is connected")
    result = to_the_end(shop, old)
    assert result["after"]["unacked"] == 5
    assert "5 stay: workers are connected" in result["notes"][0]
    worker.close()
    wait_for(lambda: not any(int(each["psub"]) for each in client.client_list()), 60, "the worker's end")
    to_the_end(shop, old)
    assert ids(drain(shop, 5)) == Counter(sent)


def test_a_rate_is_kept_and_a_run_ends_in_its_time(old: str, shop: Vhost) -> None:
    sent = publish(old, {"shop.send_email": {}}, 30)
    # The first portion goes at once, and then the time is over.
    assert sum(move(shop, old, rate=10, seconds=0.001)["moved"].values()) == 10
    to_the_end(shop, old)
    assert ids(drain(shop, 30)) == Counter(sent)


def test_tasks_go_where_the_operator_says_and_a_retry_comes_back_there(
    old: str, shop: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(old, {"shop.send_email": {}, "shop.one": {"queue": "mail"}}, 1)
    move(shop, old, queues={"celery": "general_background", "mail": "io_email_sending"})
    arrived = drain(shop, 2)
    router = shop.client(monkeypatch).amqp.router
    for queue, message in arrived:
        delivery = message.delivery_info
        assert router.queue_at(delivery["exchange"], delivery["routing_key"]).name == queue
    found = named(arrived)
    assert found == {"shop.send_email": {"general_background"}, "shop.one": {"io_email_sending"}}
    with pytest.raises(MoveInError, match="no pool has the queue nowhere"):
        move(shop, old, queues={"celery": "nowhere"})


def test_one_run_at_a_time(old: str, shop: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PATIENCE", 0.5)
    with Connection(shop.admin_url) as connection:
        connection.channel().basic_consume(STAGING, callback=print)
        with pytest.raises(MoveInError, match="another run is at work"):
            move(shop, old)


def test_a_queue_that_workers_consume_is_refused(
    old_vhost: str, shop: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_source, "PATIENCE", 0.5)
    publish(old_vhost, {"shop.send_email": {}}, 1)
    with Connection(old_vhost) as connection:
        connection.channel().basic_consume("celery", callback=print)
        with pytest.raises(MoveInError, match="workers consume celery"):
            move(shop, old_vhost, queues={"celery": ""})


def test_a_broker_that_is_not_there_is_named_without_its_password(shop: Vhost) -> None:
    with pytest.raises(MoveInError) as failure:
        move(shop, "redis://:secret@127.0.0.1:1/0")
    assert "127.0.0.1:1" in str(failure.value) and "secret" not in str(failure.value)
