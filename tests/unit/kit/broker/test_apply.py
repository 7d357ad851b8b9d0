"""A topology is applied to a broker in rounds, until nothing differs or the broker will not change."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from fleet.broker import apply as module
from fleet.broker.api import BrokerError, RefusedError
from fleet.broker.apply import TopologyReconciler
from fleet.broker.counts import Counts
from fleet.findings import Findings
from support.broker_definitions import FRESH, PASSWORDS, VHOST, WANTED, Definitions

QUEUE = WANTED["queues"][0]["name"]


class Broker:
    """The management API in front of definitions in memory; it notes what it is asked to change."""

    def __init__(self, definitions: Definitions) -> None:
        self.held = definitions
        self.in_use: dict[str, Counts | None] = {}
        self.refuses: set[tuple[str, ...]] = set()
        self.deaf = False
        self.calls: list[str] = []

    def definitions(self) -> dict[str, Any]:
        return copy.deepcopy(self.held.definitions)

    def load(self, document: dict[str, Any]) -> None:
        self.calls.append("load")
        if not self.deaf:
            self.held.load(document)

    def remove(self, key: tuple[str, ...], vhost: str, conditions: str = "") -> None:
        self.calls.append(" ".join(("remove", *key, *filter(None, [conditions]))))
        if key in self.refuses:
            raise RefusedError("it has 1 message", 400)
        if key[0] == "topic_permission":
            kept = [each for each in self.held.definitions["topic_permissions"] if each["user"] != key[1]]
            self.held.definitions["topic_permissions"] = kept
        else:
            self.held.remove(key)

    def count(self, names: Collection[str]) -> dict[str, Counts | None]:
        return {name: self.in_use.get(name, Counts(0, 0, 0, 0)) for name in names}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a pause pass at once, on a clock of its own."""
    clock = [0.0]
    passes = SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    monkeypatch.setattr(module, "time", passes)


@pytest.fixture
def broker() -> Broker:
    return Broker(Definitions(FRESH))


def reconcile(broker: Broker, wanted: dict[str, Any] = WANTED, *, prune: bool = False) -> TopologyReconciler:
    reconciler = TopologyReconciler(wanted, PASSWORDS, broker, broker.count, prune=prune)
    todo = reconciler.compare(broker.definitions())
    reconciler.left = todo if todo.empty else reconciler.apply(todo)
    return reconciler


def without_queue(name: str) -> dict[str, Any]:
    """Return a topology that has lost a queue, with its bindings and its policy."""
    wanted = copy.deepcopy(WANTED)
    for section in ("queues", "bindings", "policies"):
        wanted[section] = [each for each in wanted[section] if name not in map(str, each.values())]
    wanted["policies"] = [each for each in wanted["policies"] if not each["name"].endswith(f".{name}")]
    return wanted


def names(broker: Broker, section: str) -> set[str]:
    return {each["name"] for each in broker.held.definitions[section]}


def test_a_fresh_broker_needs_one_round_and_the_next_run_none(broker):
    assert reconcile(broker).left.empty
    assert broker.calls == ["load", "remove user guest"]
    broker.calls.clear()
    assert reconcile(broker).left.empty
    assert broker.calls == []


def test_a_broker_that_does_not_change_is_told_of_after_its_time_to_settle(broker):
    broker.deaf = True
    left = reconcile(broker).left
    assert not left.empty
    assert 1 < broker.calls.count("load") <= module._SETTLE_S + 3


def test_a_queue_that_left_the_model_stays_until_it_is_pruned(broker):
    reconcile(broker)
    kept = reconcile(broker, without_queue(QUEUE))
    assert QUEUE in names(broker, "queues")
    assert any(QUEUE in line for line in kept.surplus)
    pruned = reconcile(broker, without_queue(QUEUE), prune=True)
    assert pruned.left.empty
    assert QUEUE not in names(broker, "queues")
    assert pruned.surplus == []


def renamed(old: str, new: str) -> dict[str, Any]:
    """Return a topology in which a queue, or an exchange, has another name and the same keys."""
    return dict(json.loads(json.dumps(WANTED).replace(f'"{old}"', f'"{new}"')))


@pytest.mark.parametrize("name", [QUEUE, WANTED["exchanges"][0]["name"]])
def test_what_was_renamed_gets_no_copies(broker, name):
    """A message that went to both would be a task that runs twice once the one in the old queue is moved."""
    reconcile(broker)
    reconciler = reconcile(broker, renamed(name, "another"))
    assert reconciler.left.empty
    assert {name, "another"} <= names(broker, "queues") | names(broker, "exchanges")
    bindings = broker.held.definitions["bindings"]
    assert [each for each in bindings if each["destination"] == "another"]
    assert not [each for each in bindings if each["destination"] == name]


def test_a_queue_whose_key_left_the_model_keeps_what_is_still_published(broker):
    reconcile(broker)
    before = [each for each in broker.held.definitions["bindings"] if each["destination"] == QUEUE]
    reconcile(broker, without_queue(QUEUE))
    assert [each for each in broker.held.definitions["bindings"] if each["destination"] == QUEUE] == before


def test_queues_that_the_model_lacks_and_that_hold_messages_are_told_of(broker):
    reconcile(broker)
    broker.in_use = {QUEUE: Counts(3, 2, 1, 1), "cpu_tasks_dead": Counts(1, 1, 0, 0)}
    assert reconcile(broker).stranded() == []
    (line,) = reconcile(broker, without_queue(QUEUE)).stranded()
    assert line.startswith(
        f"{QUEUE}: the model has no such queue, and it holds 2 ready messages, 1 unacknowledged message: "
        f"ansible-playbook playbooks/migrate_queue.yml -e migrate_from={QUEUE} -e migrate_to="
    )


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (Counts(3, 3, 0, 0), "3 ready messages"),
        (Counts(3, 0, 0, 0), "3 waiting dead letters"),
        (Counts(0, 0, 0, 1), "1 consumer"),
        (None, "can't be counted now"),
    ],
)
def test_a_queue_in_use_is_not_pruned_and_keeps_what_its_messages_need(broker, counts, text):
    reconcile(broker)
    broker.in_use = {QUEUE: counts}
    broker.calls.clear()
    kept = reconcile(broker, without_queue(QUEUE), prune=True)
    assert QUEUE in names(broker, "queues")
    assert any(text in line for line in kept.surplus)
    assert f"remove queue {QUEUE}" not in broker.calls


def test_a_queue_that_filled_after_the_plan_stays(broker):
    reconcile(broker)
    reconciler = TopologyReconciler(without_queue(QUEUE), PASSWORDS, broker, broker.count, prune=True)
    todo = reconciler.compare(broker.definitions())
    assert ("queue", QUEUE) in {each.key for each in todo.remove}
    broker.in_use = {QUEUE: Counts(1, 1, 0, 0)}
    assert reconciler.apply(todo).empty
    assert QUEUE in names(broker, "queues")
    assert any("1 ready message" in line for line in reconciler.surplus)


def test_a_classic_queue_that_the_broker_refuses_to_remove_stays(broker):
    wanted = copy.deepcopy(WANTED)
    for each in wanted["queues"]:
        each["arguments"]["x-queue-type"] = "classic"
    reconcile(broker, wanted)
    fewer = without_queue(QUEUE)
    for each in fewer["queues"]:
        each["arguments"]["x-queue-type"] = "classic"
    broker.refuses = {("queue", QUEUE)}
    kept = reconcile(broker, fewer, prune=True)
    assert f"remove queue {QUEUE} if-empty=true&if-unused=true" in broker.calls
    assert QUEUE in names(broker, "queues")
    assert any("it has 1 message" in line for line in kept.surplus)


def test_the_other_topic_permissions_of_a_user_are_given_back(broker):
    reconcile(broker)
    permissions = broker.held.definitions["topic_permissions"]
    user = permissions[0]["user"]
    before = [each for each in permissions if each["user"] == user]
    permissions.append({**before[0], "exchange": "amq.topic", "vhost": VHOST})
    assert reconcile(broker).left.empty
    after = [each for each in broker.held.definitions["topic_permissions"] if each["user"] == user]
    assert sorted(each["exchange"] for each in after) == sorted(each["exchange"] for each in before)


def test_users_without_a_password_are_named(broker):
    some = TopologyReconciler(WANTED, dict.fromkeys(list(PASSWORDS)[1:], "x"), broker, broker.count)
    assert some.without_passwords() == sorted(list(PASSWORDS)[:1])


def test_an_export_that_says_nothing_of_internal_exchanges_differs_in_nothing(broker):
    """As RabbitMQ 4.3 writes it."""
    reconcile(broker)
    for exchange in broker.held.definitions["exchanges"]:
        del exchange["internal"]
    broker.calls.clear()
    assert reconcile(broker).left.empty
    assert broker.calls == []


def test_a_version_that_no_fleet_can_run_on_is_refused_before_anything_is_changed(broker):
    broker.held.definitions["rabbitmq_version"] = "4.3.0"
    with pytest.raises(BrokerError, match=r"RabbitMQ 4\.3\.0"):
        reconcile(broker)
    assert broker.calls == []


class Killed(BaseException):
    """The module's process is killed here."""


class Mortal(Broker):
    """Its caller is killed before one of its requests, or after the last."""

    def __init__(self, definitions: Definitions, at: int) -> None:
        super().__init__(definitions)
        self.at = at

    def _live(self) -> None:
        if len(self.calls) == self.at:
            raise Killed

    def load(self, document: dict[str, Any]) -> None:
        self._live()
        super().load(document)

    def remove(self, key: tuple[str, ...], vhost: str, conditions: str = "") -> None:
        self._live()
        super().remove(key, vhost, conditions)


CHANGED = {
    "fresh": (None, WANTED),
    "pruned": (WANTED, without_queue(QUEUE)),
    "renamed": (WANTED, renamed(QUEUE, "another")),
    "renamed exchange": (WANTED, renamed(WANTED["exchanges"][0]["name"], "another")),
}


@pytest.mark.parametrize("case", CHANGED)
def test_killed_before_any_request_it_ends_as_it_would_have_ended(case):
    before, wanted = CHANGED[case]

    def made() -> Definitions:
        broker = Broker(Definitions(FRESH))
        if before:
            reconcile(broker, before)
        return broker.held

    def content(held: Definitions) -> dict[str, list[str]]:
        # Of a password only a salted hash is there.
        return {
            section: sorted(json.dumps(each | {"password_hash": ""}, sort_keys=True) for each in entries)
            for section, entries in held.definitions.items()
        }

    start = made()
    whole = Broker(copy.deepcopy(start))
    assert reconcile(whole, wanted, prune=True).left.empty
    requests = len(whole.calls)
    assert requests
    for at in range(requests):
        mortal = Mortal(copy.deepcopy(start), at)
        with pytest.raises(Killed):
            reconcile(mortal, wanted, prune=True)
        again = Broker(mortal.held)
        assert reconcile(again, wanted, prune=True).left.empty
        assert content(again.held) == content(whole.held)


def test_the_broker_keeps_the_name_of_the_fleet(broker):
    named = WANTED | {"fleet": "staging"}
    assert reconcile(broker, named).left.empty
    assert reconcile(broker, named).left.empty
    assert not {"load"} & set(broker.calls[1:]), "a second run changes nothing"
    for wanted, refused in ((named, False), (WANTED, True)):
        reconciler, found = TopologyReconciler(wanted, PASSWORDS, broker, broker.count), Findings()
        reconciler.compare(broker.definitions())
        reconciler.check_fleet(found)
        assert bool(found.errors) is refused
