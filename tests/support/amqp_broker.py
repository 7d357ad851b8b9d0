"""A broker in memory for a migration: AMQP's commands and the management API over one state."""

from __future__ import annotations

import copy
import re
from collections import defaultdict, deque
from collections.abc import Collection
from functools import partial
from types import SimpleNamespace
from typing import Any

import amqp
from fleet.broker.counts import Counts
from fleet.broker.migration import MIGRATION


class Crash(BaseException):
    """The migration's process is killed here."""


class AmqpBroker:
    """Exchanges, queues, policies and messages of one virtual host.

    Attributes:
        crash_at: The number of the change before which the process is killed; none: it lives.
        changes: How many changes were asked for.
    """

    def __init__(self, definitions: dict[str, Any], vhost: str) -> None:
        self.held = copy.deepcopy(definitions)
        self.vhost = vhost
        self.messages: dict[str, deque[Any]] = defaultdict(deque)
        self.crash_at: int | None = None
        self.changes = 0
        self._tags = 0
        self._open: dict[int, tuple[str, Any]] = {}

    def change(self) -> None:
        """Count a change; the process may end before it."""
        if self.changes == self.crash_at:
            raise Crash
        self.changes += 1

    def connection(self) -> SimpleNamespace:
        """Connect anew: what the connection before had not acknowledged is in its queue again."""
        for queue, message in reversed(self._open.values()):
            self.messages[queue].appendleft(message)
        self._open.clear()
        return SimpleNamespace(channel=lambda: Channel(self), drain_events=_nothing_came)

    # What publishers see

    def publish(self, message: Any, exchange: str, key: str) -> bool:
        """Route a message; says whether a queue took it."""
        if exchange == "":
            taken = [key] if self.named("queues", key) else []
        else:
            kind = self.named("exchanges", exchange)["type"]
            taken = [
                each["destination"]
                for each in self.held["bindings"]
                if each["source"] == exchange and _matches(kind, each["routing_key"], key)
            ]
            policy = self.policy_in_force(self.vhost, exchange)
            alternate = policy and self._policy(policy)["definition"].get("alternate-exchange")
            if not taken and alternate and self.named("exchanges", alternate):
                kind = self.named("exchanges", alternate)["type"]
                taken = [
                    each["destination"]
                    for each in self.held["bindings"]
                    if each["source"] == alternate and _matches(kind, each["routing_key"], key)
                ]
        for queue in set(taken):
            stored = amqp.Message(message.body, **copy.deepcopy(message.properties))
            stored.delivery_info = {"exchange": exchange, "routing_key": key}
            self.messages[queue].append(stored)
        return bool(taken)

    def named(self, section: str, name: str) -> Any:
        """Return an object by its name; none if there is none."""
        return next((each for each in self.held[section] if each["name"] == name), None)

    def _policy(self, name: str) -> Any:
        return self.named("policies", name)

    # The management API

    def definitions(self) -> dict[str, Any]:
        return copy.deepcopy(self.held) | {"rabbitmq_version": "4.0.5"}

    def policy_in_force(self, vhost: str, name: str) -> str | None:
        fitting = [each for each in self.held["policies"] if re.search(each["pattern"], name)]
        kinds = ("exchanges", "all")
        fitting = [each for each in fitting if each.get("apply-to", each.get("apply_to")) in kinds]
        return max(fitting, key=lambda each: each["priority"])["name"] if fitting else None

    def set_policy(self, vhost: str, name: str, policy: dict[str, Any]) -> None:
        self.change()
        self._drop("policies", name)
        self.held["policies"].append({"name": name, "vhost": vhost, **policy})

    def set_parameter(self, name: str, value: dict[str, Any]) -> None:
        self.change()
        self._drop("global_parameters", name)
        self.held["global_parameters"].append({"name": name, "value": copy.deepcopy(value)})

    def remove_if_there(self, key: tuple[str, ...], vhost: str) -> None:
        self.remove(key, vhost)

    def remove(self, key: tuple[str, ...], vhost: str) -> None:
        self.change()
        self._drop({"policy": "policies", "global_parameter": "global_parameters"}[key[0]], key[1])

    def count(self, names: Collection[str]) -> dict[str, Counts | None]:
        """Count what queues hold, which needs no management API."""
        counts: dict[str, Counts | None] = dict.fromkeys(names)
        for name in filter(partial(self.named, "queues"), names):
            ready, taken = len(self.messages[name]), sum(queue == name for queue, _ in self._open.values())
            counts[name] = Counts(ready + taken, ready, taken, consumers=0)
        return counts

    def _drop(self, section: str, name: str) -> None:
        self.held[section] = [each for each in self.held[section] if each["name"] != name]


class Channel:
    """What a migration uses of py-amqp's channel."""

    def __init__(self, broker: AmqpBroker) -> None:
        self._broker = broker
        self.events: dict[str, set[Any]] = {"basic_return": set()}
        self.connection = SimpleNamespace(channel=lambda: Channel(broker), drain_events=_nothing_came)
        self.auto_decode = True

    def close(self) -> None: ...

    def basic_consume(self, *_: Any, **__: Any) -> None: ...

    def exchange_declare(self, name: str, type: str, passive: bool = False, **more: Any) -> None:
        existing = self._broker.named("exchanges", name)
        if passive or name.endswith("celery.pidbox"):
            return
        if existing is None:
            self._broker.change()
            fields = {"durable": True, "auto_delete": False, "internal": False, "arguments": {}}
            attributes = {key: value for key, value in more.items() if key in fields}
            self._broker.held["exchanges"].append(
                {"name": name, "vhost": self._broker.vhost, "type": type, **fields, **attributes}
            )
        else:
            assert existing["type"] == type, f"406: {name} is a {existing['type']} exchange"

    def exchange_delete(self, name: str, **_: Any) -> None:
        self._broker.change()
        self._broker._drop("exchanges", name)
        self._unbind(lambda each: each["source"] == name)

    def queue_declare(self, queue: str = "", passive: bool = False, **more: Any) -> Any:
        existing = self._broker.named("queues", queue)
        if passive and existing is None:
            raise amqp.exceptions.NotFound
        if queue and existing is None:
            self._broker.change()
            self._broker.held["queues"].append(
                {
                    "name": queue,
                    "vhost": self._broker.vhost,
                    "durable": more["durable"],
                    "auto_delete": more["auto_delete"],
                    "arguments": more["arguments"] or {},
                }
            )
        elif queue and not passive:
            assert existing["arguments"] == more["arguments"], f"406: {queue} has {existing['arguments']}"
        return SimpleNamespace(
            queue=queue or "amq.gen-1", message_count=len(self._broker.messages[queue]), consumer_count=0
        )

    def queue_delete(self, queue: str, **_: Any) -> None:
        self._broker.change()
        assert not self._broker.messages[queue], f"{queue} is deleted with messages"
        self._broker._drop("queues", queue)
        self._unbind(lambda each: (each["destination_type"], each["destination"]) == ("queue", queue))

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", **more: Any) -> None:
        if exchange.endswith("celery.pidbox"):
            return
        self._bind("queue", queue, exchange, routing_key, more.get("arguments"))

    def exchange_bind(self, exchange: str, source: str, routing_key: str, **more: Any) -> None:
        self._bind("exchange", exchange, source, routing_key, more.get("arguments"))

    def queue_unbind(self, queue: str, exchange: str, routing_key: str, **_: Any) -> None:
        self._broker.change()
        removed = (exchange, "queue", queue, routing_key)
        fields = ("source", "destination_type", "destination", "routing_key")
        self._unbind(lambda each: tuple(each[field] for field in fields) == removed)

    def basic_publish_confirm(
        self, message: Any, exchange: str, routing_key: str = "", mandatory: bool = False, **_: Any
    ) -> None:
        if exchange.endswith("celery.pidbox"):
            return
        self._broker.change()
        if not self._broker.publish(message, exchange, routing_key) and mandatory:
            for returned in self.events["basic_return"]:
                returned("NO_ROUTE")

    def basic_get(self, queue: str) -> Any:
        if not self._broker.messages[queue]:
            return None
        message = self._broker.messages[queue].popleft()
        self._broker._tags += 1
        self._broker._open[self._broker._tags] = (queue, message)
        message.delivery_info = {**message.delivery_info, "delivery_tag": self._broker._tags}
        return message

    def basic_ack(self, tag: int) -> None:
        self._broker.change()
        del self._broker._open[tag]

    def _bind(self, kind: str, to: str, source: str, key: str, arguments: dict[str, Any] | None) -> None:
        binding = {
            "vhost": self._broker.vhost,
            "source": source,
            "destination_type": kind,
            "destination": to,
            "routing_key": key,
            "arguments": arguments or {},
        }
        if binding not in self._broker.held["bindings"]:
            self._broker.change()
            self._broker.held["bindings"].append(binding)

    def _unbind(self, matches: Any) -> None:
        self._broker.held["bindings"] = [each for each in self._broker.held["bindings"] if not matches(each)]


def _nothing_came(timeout: float) -> None:
    raise TimeoutError


def _matches(kind: str, pattern: str, key: str) -> bool:
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key
    words = {"*": r"[^.]*", "#": r".*"}
    parts = [words.get(word, re.escape(word)) for word in pattern.split(".")]
    whole = r"\.".join(parts).replace(r".*\.", r"(.*\.)?").replace(r"\..*", r"(\..*)?")
    return re.fullmatch(whole, key) is not None


def leftovers(broker: AmqpBroker) -> list[str]:
    """Return what a migration made and did not take away again."""
    sections = ("exchanges", "queues", "policies", "global_parameters")
    named = [each["name"] for section in sections for each in broker.held[section]]
    return [name for name in named if name.startswith(MIGRATION)]
