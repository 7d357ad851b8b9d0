"""A migration that is killed at any step and run again loses no message, and leaves nothing behind."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from fleet.broker import migrator as module
from fleet.broker import remote_control
from fleet.broker.counts import Counts
from fleet.broker.migration import MigrationError
from fleet.broker.migrator import Migrator
from fleet.broker.reconcile import compare
from fleet.broker.state import current_state, desired_state, import_document
from support.amqp_broker import AmqpBroker, Crash, leftovers
from support.broker_definitions import PASSWORDS, VHOST, WANTED, Definitions

QUEUE = WANTED["queues"][0]["name"]
BINDING = next(
    each for each in WANTED["bindings"] if each["destination"] == QUEUE and "#" not in each["routing_key"]
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a pause pass at once, on a clock of its own."""
    clock = [0.0]
    passes = SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    monkeypatch.setattr(module, "time", passes)
    monkeypatch.setattr(remote_control, "time", passes)


def made(wanted: dict[str, Any]) -> AmqpBroker:
    """Return a broker that has a topology."""
    definitions = Definitions({"vhosts": [], "users": [], "permissions": []})
    current = current_state(definitions.definitions, wanted, PASSWORDS)
    todo = compare(current, desired_state(wanted, current), fixed=frozenset(), removable=lambda key: False)
    definitions.load(import_document(todo.create, VHOST, PASSWORDS, lambda size: b"s" * size))
    return AmqpBroker(definitions.definitions, VHOST)


def classic(name: str) -> dict[str, Any]:
    """Return the topology in which one queue is a classic one."""
    wanted = copy.deepcopy(WANTED)
    queue = next(each for each in wanted["queues"] if each["name"] == name)
    queue["arguments"] = {**queue["arguments"], "x-queue-type": "classic"}
    return wanted


def message(number: int, **headers: Any) -> Any:
    return amqp.Message(f"task {number}", application_headers={"id": number, **headers})


def migrate(broker: AmqpBroker) -> dict[str, Any] | None:
    migrator = Migrator(WANTED, broker, broker.count, None, patience_s=60, timeout_s=30)
    migrator._connection, migrator._user = broker.connection(), "kit"
    migrator._open_channel()
    reports = [migrator.replace_queue(name) for name in migrator.queues]
    return reports[0] if reports else None


def waiting(broker: AmqpBroker) -> Counter[int]:
    return Counter(each.properties["application_headers"]["id"] for each in broker.messages[QUEUE])


def test_a_queue_changes_its_type_with_all_its_messages():
    broker = made(classic(QUEUE))
    for number in range(5):
        assert broker.publish(message(number), BINDING["source"], BINDING["routing_key"])
    report = migrate(broker)
    assert (report["before"], report["moved"], report["brought_back"]) == (5, 5, 5)
    assert waiting(broker) == Counter(range(5))
    assert broker.named("queues", QUEUE)["arguments"]["x-queue-type"] == "quorum"
    # A retry goes where its message was published to.
    for each in broker.messages[QUEUE]:
        assert each.delivery_info["exchange"] == BINDING["source"]
        assert each.delivery_info["routing_key"] == BINDING["routing_key"]
        assert set(each.properties["application_headers"]) == {"id"}
    assert leftovers(broker) == []
    assert migrate(broker) is None


def steps() -> int:
    broker = made(classic(QUEUE))
    for number in range(3):
        broker.publish(message(number), BINDING["source"], BINDING["routing_key"])
    migrate(broker)
    return broker.changes


def test_a_message_that_the_broker_vouched_for_is_moved_in_nobodys_name():
    broker = made(classic(QUEUE))
    vouched = amqp.Message("task", application_headers={"id": 1}, user_id="beat")
    assert broker.publish(vouched, BINDING["source"], BINDING["routing_key"])
    migrate(broker)
    (moved,) = broker.messages[QUEUE]
    assert "user_id" not in moved.properties


@pytest.mark.parametrize("at", range(steps()))
def test_killed_before_any_change_it_ends_as_it_would_have_ended(at):
    broker = made(classic(QUEUE))
    for number in range(3):
        broker.publish(message(number), BINDING["source"], BINDING["routing_key"])
    broker.crash_at = at
    with pytest.raises(Crash):
        migrate(broker)
    broker.crash_at = None
    # A publisher goes on between the two runs.
    assert broker.publish(message(3), BINDING["source"], BINDING["routing_key"])
    migrate(broker)
    found = waiting(broker)
    assert set(found) == {0, 1, 2, 3}
    assert sum(found.values()) <= 5, "only what was between two commands may be there twice"
    assert leftovers(broker) == []
    assert migrate(broker) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"x-celery-fleet-origin": value}
        for value in ("x", 5, ["a"], '["memory_tasks", "memory.import"]', '["", "io_tasks_dead"]', None)
    ]
    + [{"x-celery-fleet-migration": "0" * 32, "x-celery-fleet-origin": '["", "elsewhere"]'}],
    ids=str,
)
def test_a_publishers_own_headers_lead_no_message_elsewhere(headers):
    broker = made(classic(QUEUE))
    broker.publish(message(1, **headers), BINDING["source"], BINDING["routing_key"])
    migrate(broker)
    (home,) = broker.messages[QUEUE]
    assert home.delivery_info["exchange"] == BINDING["source"]
    assert home.properties["application_headers"]["id"] == 1
    assert {name for name, held in broker.messages.items() if held} == {QUEUE}


def counting(monkeypatch: pytest.MonkeyPatch, broker: AmqpBroker, *answers: Counts | None) -> None:
    """Let the broker give these counts of the queue, one after the other and the last for ever."""
    left, count = list(answers), broker.count

    def tell(names: Collection[str]) -> dict[str, Counts | None]:
        if QUEUE not in names:
            return count(names)
        return {QUEUE: left.pop(0) if len(left) > 1 else left[0]}

    monkeypatch.setattr(broker, "count", tell)


IDLE = Counts(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([IDLE, Counts(300, 0, 0, 0)], f"{QUEUE} still has 300 waiting dead letters at the end"),
        ([IDLE, Counts(2, 0, 2, 1)], f"{QUEUE} still has 2 unacknowledged messages, 1 consumer at the end"),
        ([IDLE, Counts(0, 0, 0, 1)], f"{QUEUE} still has 1 consumer at the end"),
        ([Counts(9, 8, 1, 0)], f"{QUEUE} still has 1 unacknowledged message after 60 s"),
        ([Counts(9, 9, 0, 2)], f"{QUEUE} still has 2 consumers after 60 s"),
        ([IDLE, None], f"messages of queue {QUEUE} can't be counted now"),
        ([None], f"messages of queue {QUEUE} can't be counted now"),
    ],
)
def test_a_queue_that_is_not_empty_and_unused_or_does_not_say_so_is_kept(monkeypatch, counts, text):
    broker = made(classic(QUEUE))
    counting(monkeypatch, broker, *counts)
    with pytest.raises(MigrationError, match=text):
        migrate(broker)
    assert broker.named("queues", QUEUE)


def test_tasks_that_run_are_awaited(monkeypatch):
    broker = made(classic(QUEUE))
    working = Counts(1, 0, 1, 1)
    counting(monkeypatch, broker, working, working, IDLE, working, IDLE)
    migrate(broker)
    assert broker.named("queues", QUEUE)["arguments"]["x-queue-type"] == "quorum"


def without(name: str) -> dict[str, Any]:
    """Return the topology without a queue."""
    fewer = copy.deepcopy(WANTED)
    fewer["queues"] = [each for each in fewer["queues"] if each["name"] != name]
    fewer["bindings"] = [each for each in fewer["bindings"] if each["destination"] != name]
    return fewer


@pytest.mark.parametrize("at", [None, 0, 1, 2, 3, 4])
def test_what_waits_in_a_queue_that_left_the_model_is_moved(at):
    broker = made(WANTED)
    for number in range(3):
        assert broker.publish(message(number, mine=True), BINDING["source"], BINDING["routing_key"])
    target = WANTED["queues"][1]["name"]
    key = next(
        each["routing_key"]
        for each in WANTED["bindings"]
        if each["destination"] == target and "#" not in each["routing_key"]
    )

    def move() -> dict[str, Any]:
        migrator = Migrator(without(QUEUE), broker, broker.count, None, patience_s=60, timeout_s=30)
        migrator._connection = broker.connection()
        migrator._open_channel()
        return migrator.move(QUEUE, target)

    if at is None:
        assert move() == {"name": QUEUE, "to": target, "moved": 3, "holds": ""}
    else:
        broker.crash_at = broker.changes + at
        with pytest.raises(Crash):
            move()
        broker.crash_at = None
        move()
    moved = broker.messages[target]
    ids = Counter(each.properties["application_headers"]["id"] for each in moved)
    assert set(ids) == {0, 1, 2}
    assert sum(ids.values()) <= (3 if at is None else 4), "only one message may be there twice"
    assert {(each.delivery_info["exchange"], each.delivery_info["routing_key"]) for each in moved} == {
        (BINDING["source"], key)
    }
    assert {frozenset(each.properties["application_headers"]) for each in moved} == {
        frozenset({"id", "mine"})
    }
    assert not broker.messages[QUEUE]
    assert broker.named("queues", QUEUE)


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (WANTED["queues"][1]["name"], WANTED["queues"][1]["name"], "is in the model"),
        ("gone", WANTED["queues"][1]["name"], "has no queue gone"),
        (QUEUE, "cpu_tasks_dead", "No pool has the queue cpu_tasks_dead"),
        (QUEUE, QUEUE, "No pool has the queue"),
    ],
)
def test_messages_are_moved_between_no_other_queues(source, target, text):
    broker = made(WANTED)
    migrator = Migrator(without(QUEUE), broker, broker.count, None, patience_s=60, timeout_s=30)
    with pytest.raises(MigrationError, match=text):
        migrator.address(source, target)


def test_answers_of_anybody_do_not_stop_the_remote_control():
    control = remote_control.RemoteControl(made(WANTED).connection().channel(), "kit")
    for body in ("5", "[]", "null", "no json", '{"a": 5}', '{"b": [5]}', "[" * 100_000):
        control._note(SimpleNamespace(body=body))
    assert control.consuming(QUEUE) == []
