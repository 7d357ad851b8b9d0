"""A fleet that goes to another broker: each message is there once, as it was, wherever the move is killed."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from amqp import Channel, Message
from fleet.broker import api
from fleet.broker.counts import Counts
from fleet.broker.staging import STAGING, admit, create, dismiss, remove, routes
from fleet.broker.topology import topology
from kombu import Connection
from support import fleet_model, kills
from support.old_brokers import killed_all_along
from support.vhost import Vhost, temporary_vhost, wait_for

from celery_fleet import fleet_file
from celery_fleet.operator.dead_letters import DeadLetters, Selection
from celery_fleet.operator.move_in import mover
from celery_fleet.operator.move_in.former import FormerBroker
from celery_fleet.operator.move_in.options import Options

# Names the broker that the fleet leaves; by default it is another virtual host of the same one.
OLD = "CELERY_FLEET_TEST_OLD_BROKER"
TOPOLOGY = topology(fleet_model.load(), {})
ROUTES = routes(TOPOLOGY)
PASSWORD = "moves"
# Of these tests alone, since users are the same in all virtual hosts.
USER = f"{STAGING}_{uuid.uuid4().hex[:8]}"
# The pool whose queue has the dead letters.
POOL = fleet_model.load()["pools"]["io"]
EXCHANGE, DEAD = POOL["exchange"], f"{POOL['exchange']}_dead"
QUEUE, KEY = next((name, queue["routing_key"]) for name, queue in POOL["queues"].items())
# Where a message may be at both brokers, or taken from one.
POINTS = ((mover.Staging, "_publish"), (mover.Staging, "_reject"), (Channel, "basic_ack"))


def management(vhost: Vhost) -> api.Management:
    admin = vhost.management
    return api.Management(admin.base.removesuffix("/api/"), admin.user, admin.password)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """The broker that the fleet leaves."""
    with temporary_vhost(tmp_path_factory.mktemp("old"), variable=OLD) as vhost:
        admit(management(vhost), {**TOPOLOGY, "vhost": vhost.name}, PASSWORD, USER)
        yield vhost
        dismiss(management(vhost), vhost.name, USER)


@pytest.fixture(scope="module")
def new(old: Vhost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """The one that it goes to."""
    with temporary_vhost(tmp_path_factory.mktemp("new")) as vhost:
        broker, wanted = management(vhost), {**TOPOLOGY, "vhost": vhost.name}
        queues = [route["staging"] for route in ROUTES]
        create(broker, wanted, PASSWORD, ROUTES, USER)
        yield vhost
        assert remove(broker, vhost.name, lambda _: {queues[0]: Counts(1, 1, 0, 0)}, queues, USER) == 1
        assert remove(broker, vhost.name, lambda _: {}, queues, USER) == 0
        left = vhost.management.call("GET", "exchanges", vhost.name)
        left += vhost.management.call("GET", "queues", vhost.name)
        assert not [each for each in left if each["name"].startswith(STAGING)]


def options(old: Vhost, **more: Any) -> Options:
    source = f"amqp://{USER}:{PASSWORD}@{old.management.host}:5672/{quote(old.name, safe='')}"
    # What the kit writes and the package reads.
    given = json.loads(json.dumps({"source": source, "user": USER, "password": PASSWORD, "routes": ROUTES}))
    return Options(**{**given, "seconds": 60, **more})


def move(old: Vhost, new: Vhost, **more: Any) -> dict[str, Any]:
    # As on a host that knows only its former broker yet.
    fleet = fleet_file.load(str(new.fleet_file(("192.0.2.1", 5672))))
    return mover.move(fleet, options(old, nodes=[new.address], **more), progress=lambda _: None)


def to_the_end(old: Vhost, new: Vhost) -> dict[str, Any]:
    while not (result := move(old, new))["done"]:
        assert not result["held"]
    return result


def publish(vhost: Vhost, key: str, id_: str, exchange: str = EXCHANGE, **properties: Any) -> None:
    """Publish what only has an id to know it by."""
    headers = {"id": id_, "task": "shop.fetch", "own": {"nested": [1, None]}, **properties.pop("headers", {})}
    message = Message(id_, application_headers=headers, delivery_mode=2, **properties)
    vhost.channel.basic_publish(message, exchange=exchange, routing_key=key)


def die(vhost: Vhost, count: int) -> None:
    """Let all that waits in the queue die."""
    wait_for(lambda: vhost.ready_messages(QUEUE) == count, 60, f"{count} messages")
    for _ in range(count):
        vhost.channel.basic_reject(vhost.channel.basic_get(QUEUE).delivery_tag, requeue=False)
    wait_for(lambda: vhost.ready_messages(DEAD) == count, 60, "dead letters")


def drain(vhost: Vhost, count: int) -> dict[str, list[Any]]:
    """Take so many messages, and all that come after them; by queue."""
    # From one with a single active consumer nobody may get.
    names = [each["name"] for each in TOPOLOGY["queues"] if each["name"] != "fleet_beat"]
    found: dict[str, list[Any]] = {}

    def take() -> bool:
        for name in names:
            while message := vhost.channel.basic_get(name, no_ack=True):
                found.setdefault(name, []).append(message)
        return sum(map(len, found.values())) >= count

    wait_for(take, 60, f"{count} messages")
    # What is doubled would lie behind the others, or still in a staging queue.
    for route in ROUTES:
        wait_for(lambda name=route["staging"]: vhost.ready_messages(name) == 0, 60, "an empty staging queue")
    take()
    return found


def receive(link: Connection, found: list[Any]) -> None:
    """Wait for what a consumer puts there."""

    def received() -> bool:
        with suppress(TimeoutError):
            link.drain_events(timeout=1)
        return bool(found)

    wait_for(received, 60, "a delivery")


def ids(found: dict[str, list[Any]]) -> Counter[str]:
    return Counter(message.headers["id"] for messages in found.values() for message in messages)


def test_a_move_that_is_killed_all_along_loses_and_doubles_nothing(
    old: Vhost, new: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = old.client(monkeypatch)
    sent = []
    for number in range(20):
        publish(old, KEY, f"dead-{number}")
        sent.append(f"dead-{number}")
    die(old, 20)
    for number in range(60):
        # Some whose time comes while the move is killed, and some whose does not.
        countdown = {0: None, 1: 3600 + number, 2: number / 6}[number % 3]
        sent.append(app.send_task("shop.fetch", (number,), queue=QUEUE, countdown=countdown).id)
    for pool in fleet_model.load()["pools"].values():
        for queue in pool["queues"].values():
            for number in range(8):
                sent.append(f"{queue['routing_key']}-{number}")
                publish(old, queue["routing_key"], sent[-1], pool["exchange"])
    # What is delayed, tasks, and dead letters first.
    for first in (1, 2, -2):
        turned = [*ROUTES[first:], *ROUTES[:first]]
        killed_all_along(lambda routes=turned: move(old, new, routes=routes), range(4, 10), 4, POINTS)
    to_the_end(old, new)
    assert ids(drain(new, len(sent))) == Counter(sent)
    assert sum(move(old, new)["after"].values()) == 0


def test_a_task_whose_time_comes_between_two_runs_is_known_again(
    old: Vhost, new: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = old.client(monkeypatch)
    sent = [app.send_task("shop.fetch", queue=QUEUE, countdown=3).id for _ in range(3)]

    def forget(_: FormerBroker, tasks: list[Any]) -> None:
        if tasks:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        with patch.object(FormerBroker, "forget", forget):
            move(old, new)

    # They are in the staging queue, and come back to the old broker, which moves them on.
    assert kills.run(killed) is kills.End.KILLED
    wait_for(lambda: old.ready_messages(QUEUE) == len(sent), 60, "the end of their delay")
    to_the_end(old, new)
    assert ids(drain(new, len(sent))) == Counter(sent)


def test_a_portion_is_acknowledged_by_one_command(old: Vhost, new: Vhost) -> None:
    sent = [f"acknowledged-{number}" for number in range(100)]
    for id_ in sent:
        publish(old, KEY, id_)
    wait_for(lambda: old.ready_messages(QUEUE) == len(sent), 60, "all messages")
    acknowledge, commands = Channel.basic_ack, list[bool]()

    def counted(self: Channel, tag: int, multiple: bool = False) -> None:
        commands.append(multiple)
        acknowledge(self, tag, multiple)

    with patch.object(Channel, "basic_ack", counted):
        to_the_end(old, new)
    # More than 32 may stay in the channel and be lost with it. Others are of the staging queues.
    assert 1 <= commands.count(True) <= 32
    assert commands.count(False) <= 2 * len(ROUTES)
    assert ids(drain(new, len(sent))) == Counter(sent)


def test_messages_are_as_they_were(old: Vhost, new: Vhost) -> None:
    properties: dict[str, Any] = {
        "correlation_id": "c",
        "reply_to": "r",
        "content_type": "text/plain",
        "content_encoding": "latin-1",
        "priority": 3,
        "timestamp": 1_700_000_000,
        "type": "t",
        "app_id": "a",
    }
    publish(old, KEY, "plain", headers={"CC": ["elsewhere"], "é": "ü"}, expiration="600000", **properties)
    # No task at all.
    old.channel.basic_publish(Message(b"\xff\x00", delivery_mode=2), exchange=EXCHANGE, routing_key=KEY)
    to_the_end(old, new)
    plain, broken = drain(new, 2)[QUEUE]
    assert (plain.delivery_info["exchange"], plain.delivery_info["routing_key"]) == (EXCHANGE, KEY)
    assert plain.body == "plain"
    kept = {name: plain.properties[name] for name in properties}
    assert {**kept, "timestamp": 1_700_000_000} == properties
    headers = {name: value for name, value in plain.headers.items() if not name.startswith("x-")}
    assert headers == {"id": "plain", "task": "shop.fetch", "own": {"nested": [1, None]}, "é": "ü"}
    assert broken.body == b"\xff\x00"


def test_a_delayed_task_waits_for_what_is_left_of_its_time(
    old: Vhost, new: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = old.client(monkeypatch)
    app.send_task("shop.fetch", queue=QUEUE, countdown=3600)
    # Delayed at the former broker by far more than is left.
    publish(
        old, f"{'1.' * 28}{KEY}", "soon", "celery_delayed_27", headers={"eta": "2020-01-01T00:00:00+00:00"}
    )
    to_the_end(old, new)
    soon = wait_for(lambda: new.channel.basic_get(QUEUE, no_ack=True), 60, "the task whose time is over")
    assert soon.headers["id"] == "soon"
    [(queue, [late])] = drain(new, 1).items()
    assert queue == "celery_delayed_11"
    assert late.delivery_info["routing_key"].endswith(f".{KEY}")


def test_dead_letters_keep_why_they_died_and_can_be_sent_back(old: Vhost, new: Vhost) -> None:
    publish(old, KEY, "dead")
    die(old, 1)
    before = DeadLetters(fleet_file.load(str(old.fleet_file())), lambda _: None).look(Selection())
    to_the_end(old, new)
    letters = DeadLetters(fleet_file.load(str(new.fleet_file())), lambda _: None)
    after = wait_for(lambda: letters.look(Selection()).letters, 60, "a dead letter")
    assert after == before.letters
    assert (after[0].reason, after[0].queue, after[0].returns_to) == ("rejected", QUEUE, QUEUE)
    letters.send_back(Selection())
    back = wait_for(lambda: new.channel.basic_get(QUEUE, no_ack=True), 60, "the task that was sent back")
    assert (back.headers["id"], back.delivery_info["exchange"]) == ("dead", EXCHANGE)


def test_the_scheduler_finds_its_notes(old: Vhost, new: Vhost) -> None:
    user = old.user("beat")
    with Connection(
        old.admin_url.replace(old.admin_url.split("@")[0][7:], f"{user}:{old.password('beat')}")
    ) as link:
        link.channel().basic_publish(
            Message("{}", user_id=user, delivery_mode=2), exchange=EXCHANGE, routing_key="fleet_beat"
        )
        wait_for(lambda: old.ready_messages("fleet_beat") == 1, 60, "a note")
    to_the_end(old, new)
    with Connection(new.admin_url) as link:
        notes = list[Any]()
        link.channel().basic_consume("fleet_beat", no_ack=True, callback=notes.append)
        receive(link, notes)
    assert [note.properties["user_id"] for note in notes] == [user]


def test_a_queue_whose_workers_finish_their_tasks_is_left_for_later(
    old: Vhost, new: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(name for name in POOL["queues"] if name != QUEUE)
    publish(old, KEY, "running")
    publish(old, POOL["queues"][other]["routing_key"], "waiting")
    with Connection(old.admin_url) as link:
        channel, running = link.channel(), list[Any]()
        channel.basic_qos(0, 1, False)
        tag = channel.basic_consume(QUEUE, callback=running.append)
        receive(link, running)
        channel.basic_cancel(tag)
        publish(old, KEY, "behind")
        wait_for(lambda: old.ready_messages(QUEUE) == 1, 60, "the task behind it")
        with monkeypatch.context() as patches:
            patches.setattr("celery_fleet.operator.move_in.amqp_source.PATIENCE", 0.5)
            assert move(old, new)["held"] == [QUEUE]
        assert ids(drain(new, 1)) == Counter(["waiting"])
        channel.basic_ack(running[0].delivery_tag)
        wait_for(lambda: not old.channel.queue_declare(QUEUE, passive=True).consumer_count, 60, "no consumer")
    to_the_end(old, new)
    assert ids(drain(new, 1)) == Counter(["behind"])
