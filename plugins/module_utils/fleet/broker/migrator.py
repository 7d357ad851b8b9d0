"""Replace queues and exchanges that can't be changed in place, step by step, and lose no message."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..findings import nearest
from .api import BrokerError, Management
from .client import amqp
from .counts import Count, Counts
from .migration import (
    MIGRATION,
    Binding,
    MigrationError,
    bindings,
    check_diversion,
    chosen,
    interrupted,
    rebinding,
    record_name,
    with_alternate,
    without_limits,
)
from .objects import POLICY_PREFIX
from .ownership import FIXED_KINDS
from .reconcile import Attributes, State, compare
from .remote_control import RemoteControl
from .state import current_state, desired_state
from .stranded import of_topology
from .versions import for_broker_version

# Where a message was first published to, while it waits in the queue beside. A publisher may set any header,
# so this one counts only together with the mark of the migration, which no publisher knows.
_ORIGIN: Final = "x-celery-fleet-origin"
_MARK: Final = "x-celery-fleet-migration"
# The broker counts the deliveries of each queue itself.
_DELIVERIES: Final = "x-delivery-count"
# Until a message that was routed to a queue is in it.
_ARRIVAL_S: Final = 2
# Until every channel has heard that a queue is gone.
_NEWS_S: Final = 1
# Between two looks: a tenth of the time that was waited so far, since each look starts a command.
_LOOK_MIN_S: Final = 0.2
_LOOK_MAX_S: Final = 10


@dataclass(frozen=True)
class AmqpLogin:
    """Where the broker takes AMQP, and as whom.

    Attributes:
        host: Its address, which its certificate must name.
        port: Its port.
        user: A user with all rights in the virtual host.
        password: Its password.
        ca_file: Certificates of the authority; none: no TLS.
    """

    host: str
    port: int
    user: str
    password: str
    ca_file: str | None


class Migrator:
    """The broker's state, the desired one, and the steps from one to the other.

    Attributes:
        exchanges: Exchanges to replace.
        queues: Queues to replace.
        left: What differs too, and was not requested.
        differences: How the chosen objects differ.
    """

    def __init__(
        self,
        topology: Mapping[str, Any],
        broker: Management,
        count: Count,
        only: str | None,
        patience_s: float,
        timeout_s: float,
    ) -> None:
        """Compare the broker with the desired topology.

        Args:
            topology: The desired topology, as ``topology.topology`` returns it.
            broker: The broker's management API.
            count: Counts what queues hold.
            only: The one queue or exchange to migrate; none for all.
            patience_s: Seconds to wait for the running tasks of a queue.
            timeout_s: Seconds for one publish.

        Raises:
            BrokerError: The broker can't be reached.
            MigrationError: A requested object can't be migrated.
        """
        self._topology = topology
        self._broker = broker
        self._count = count
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._vhost: str = topology["vhost"]
        definitions = self._read()
        self._begun = interrupted(definitions, self._vhost)
        self._todo = compare(self._current, self._desired, fixed=FIXED_KINDS)
        self.exchanges, self.queues = chosen(self._todo, self._begun, only)
        selected = {"exchange": self.exchanges, "queue": self.queues}
        self.differences = [each for each in self._todo.blocked if each.key[1] in selected[each.key[0]]]
        self.left = [each.label for each in self._todo.blocked if each.key[1] not in selected[each.key[0]]]
        own_exchanges = [key for key in self._desired if key[0] == "exchange"]
        for queue in self.queues:
            if ("queue", queue) not in self._desired:
                raise MigrationError(
                    f"The migration of queue {queue} was interrupted, and the model no longer has it. Put it "
                    "back into the model until the migration is finished."
                )
            check_diversion(queue, self._current, own_exchanges)

    def _read(self) -> Attributes:
        """Read what the broker has now."""
        definitions = self._broker.definitions()
        topology = for_broker_version(self._topology, definitions["rabbitmq_version"])
        self._current: State = current_state(definitions, topology, {})
        self._desired: State = desired_state(topology, self._current)
        return definitions

    @contextmanager
    def connected(self, login: AmqpLogin) -> Iterator[None]:
        """Connect to the broker for what follows.

        Args:
            login: Where and as whom.

        Raises:
            BrokerError: The broker refuses the user, or the connection ends.
        """
        try:
            with amqp.Connection(
                host=f"{login.host}:{login.port}",
                userid=login.user,
                password=login.password,
                virtual_host=self._vhost,
                login_method="PLAIN",
                confirm_publish=True,
                connect_timeout=self._timeout_s,
                ssl={"ca_certs": login.ca_file, "server_hostname": login.host} if login.ca_file else False,
            ) as connection:
                self._connection, self._user = connection, login.user
                self._open_channel()
                yield
        except amqp.exceptions.AccessRefused as error:
            raise BrokerError(f"RabbitMQ refused user {login.user} over AMQP: {error}") from error
        except (amqp.exceptions.AMQPError, OSError) as error:
            raise BrokerError(f"The connection over AMQP ended: {error or type(error).__name__}") from error

    def _open_channel(self) -> None:
        self._channel = self._connection.channel()
        # Bodies are moved as they are.
        self._channel.auto_decode = False
        self._returned: list[str] = []
        self._channel.events["basic_return"].add(lambda error, *_: self._returned.append(str(error)))

    # An exchange can't be replaced in one step. Sent without waiting, the commands leave it absent for
    # milliseconds; a publisher that meets this gets an error, never silence.
    def replace_exchange(self, name: str) -> Attributes:
        """Delete an exchange and create it anew, with the bindings that it had and those it needs."""
        exchange = self._desired["exchange", name]
        lines, around = rebinding(name, self._current, self._desired)
        for each in around:
            self._bind(each)
        begin = time.monotonic()
        self._channel.exchange_delete(name, nowait=True)
        self._channel.exchange_declare(
            name,
            exchange["type"],
            durable=exchange["durable"],
            auto_delete=exchange["auto_delete"],
            arguments=exchange["arguments"],
            nowait=True,
        )
        for each in lines:
            self._bind(each, nowait=True)
        self._channel.exchange_declare(name, exchange["type"], passive=True)
        seconds = round(time.monotonic() - begin, 4)
        self._read()
        return {"name": name, "seconds": seconds}

    def move(self, source: str, target: str) -> Attributes:
        """Move what waits in a queue that the model no longer has to one that it has.

        Args:
            source: The queue, which stays.
            target: A queue of a pool.

        Returns:
            `name`, `to`, how many messages were `moved`, and what it still `holds`, in words.

        Raises:
            MigrationError: The model has the source or lacks the target.
        """
        exchange, key = self.address(source, target)
        moved = self._move(source, lambda message: (exchange, key, origin_of(message, "")[2]))
        return {"name": source, "to": target, "moved": moved, "holds": self._counts(source).text}

    def address(self, source: str, target: str) -> tuple[str, str]:
        """Return the exchange and the routing key of the queue to which messages are to be moved.

        Args:
            source: The queue that holds them.
            target: The other one.

        Raises:
            MigrationError: The model has the source or lacks the target.
        """
        queues, _ = of_topology(self._topology)
        if ("queue", source) in self._desired:
            raise MigrationError(f"Queue {source} is in the model, so its own workers take what it holds.")
        if ("queue", source) not in self._current:
            raise MigrationError(f"The broker has no queue {source} that outlives a connection.")
        if target not in queues:
            raise MigrationError(f"No pool has the queue {target}{nearest(target, queues)}.")
        own = (each for each in self._lines(target, self._desired) if "#" not in each.routing_key)
        line = next(own)
        return line.source, line.routing_key

    def replace_queue(self, name: str) -> Attributes:
        """Replace a queue and bring its messages back, from wherever an earlier run stopped."""
        beside = f"{MIGRATION}{name}"
        remembered: Attributes = {
            "nodes": [],
            "before": self._ready(name) if ("queue", name) in self._current else 0,
            "moved": 0,
            "mark": secrets.token_hex(16),
        } | self._begun.get(name, {})
        desired = self._desired["queue", name]
        mark = remembered["mark"]
        workers = RemoteControl(self._channel, self._user)
        old = self._current.get(("queue", name))

        def to_beside(message: Any) -> tuple[str, str, Attributes]:  # noqa: ANN401 - the library has no types
            return "", beside, marked(message, mark)

        if old not in (None, desired):
            self._pause(name, workers, remembered)
            self._divert(name, beside)
            remembered["moved"] += self._move(name, to_beside)
            self._remember(name, remembered)
            time.sleep(_ARRIVAL_S)
            remembered["moved"] += self._move(name, to_beside)
            self._remember(name, remembered)
            self._delete(name, old)
            # A channel that used the queue, a publisher's too, must hear that it is gone: one that takes the
            # new queue for the old one, of another type, is broken off by the broker (541).
            time.sleep(_NEWS_S)
            self._channel.close()
            self._open_channel()
            workers = RemoteControl(self._channel, self._user)
        self._limit(name, self._desired)
        self._declare(name)
        # Not add_consumer: on the channel that knew the old queue the broker would break the connection off,
        # and deliver all that these workers run once more. They finish, stop, and are started by systemd.
        workers.send("shutdown", None, remembered["nodes"])
        # Before the messages come back: what the new type routes nowhere, such as the key of a delayed task
        # at a direct exchange, would be diverted beside again and again.
        self._end_diversion(name)
        back = 0
        if self._exists(beside):
            time.sleep(_ARRIVAL_S)
            back = self._move(beside, lambda message: self._original(message, name, mark))
            self._delete(beside, desired)
        self._forget(name)
        return {
            "name": name,
            "before": remembered["before"],
            "moved": remembered["moved"],
            "arrived_meanwhile": max(0, back - remembered["moved"]),
            "brought_back": back,
            "workers": remembered["nodes"],
        }

    def _pause(self, name: str, workers: RemoteControl, remembered: Attributes) -> None:
        """Stop all consumers of the queue, and wait until none has a message of it.

        The limit of the queue is lifted first: nobody takes from it for as long as its running tasks need.
        """
        self._limit(name, self._current)
        for waited_s in self._looks():
            nodes = workers.consuming(name)
            remembered["nodes"] = sorted({*remembered["nodes"], *nodes})
            self._remember(name, remembered)
            workers.send("cancel_consumer", name, nodes)
            held = self._counts(name)
            if not held.in_work:
                return
            if waited_s > self._patience_s:
                workers.send("add_consumer", name, remembered["nodes"])
                if ("queue", f"{MIGRATION}{name}") not in self._current:
                    self._forget(name)
                raise MigrationError(
                    f"Queue {name} still has {held.in_work} after {self._patience_s} s, and was "
                    "left as it is. "
                    "Its workers consume it again. Try when no long task runs, or give more time "
                    "(migrate_patience)."
                )

    def _divert(self, name: str, beside: str) -> None:
        """Bind the exchanges to the queue that stands beside the original."""
        queue = self._desired["queue", name]
        self._policy(f"beside.{name}", without_limits(self._own_policy(name, self._desired), beside))
        self._channel.queue_declare(
            beside, durable=queue["durable"], auto_delete=False, arguments=queue["arguments"]
        )
        lines = self._lines(name, self._current)
        for source in sorted({each.source for each in lines}):
            # A topic exchange takes a direct one's keys too, and an earlier run may have met the other type.
            kind = self._current["exchange", source]["type"]
            kind = "topic" if kind == "direct" else kind
            self._channel.exchange_declare(f"{MIGRATION}{source}", kind, durable=True, auto_delete=False)
            for each in lines:
                if each.source == source:
                    self._channel.queue_bind(
                        beside, f"{MIGRATION}{source}", each.routing_key, arguments=dict(each.arguments)
                    )
            policy = f"{MIGRATION}exchange.{source}"
            self._policy(f"exchange.{source}", with_alternate(source))
            if (in_force := self._broker.policy_in_force(self._vhost, source)) != policy:
                raise MigrationError(
                    f"Policy {in_force} applies to exchange {source} with a higher priority than {policy}: "
                    "its messages can't be diverted. Remove that policy for the time of the migration."
                )
        for each in lines:
            self._channel.queue_unbind(name, each.source, each.routing_key, arguments=dict(each.arguments))

    def _end_diversion(self, name: str) -> None:
        for source in sorted({each.source for each in self._lines(name, {**self._desired, **self._current})}):
            self._drop_policy(f"exchange.{source}")
            self._channel.exchange_delete(f"{MIGRATION}{source}")

    def _declare(self, name: str) -> None:
        """Create the queue and bind it; from then on its messages go to it again, not to the one beside."""
        queue = self._desired["queue", name]
        self._channel.queue_declare(
            name, durable=queue["durable"], auto_delete=queue["auto_delete"], arguments=queue["arguments"]
        )
        # Also by the keys that it had, so that nothing is refused before the topology is reconciled.
        for each in self._lines(name, {**self._desired, **self._current}):
            if ("exchange", each.source) in self._current:
                self._bind(each)

    def _move(self, source: str, to: Callable[[Any], tuple[str, str, Attributes]]) -> int:
        """Move all messages: each is confirmed where it goes before it is acknowledged where it was."""
        moved = 0
        while (message := self._channel.basic_get(source)) is not None:
            exchange, key, headers = to(message)
            properties = {**message.properties, "application_headers": headers}
            # The broker lets nobody publish in the name of another, as the scheduler's tasks are.
            properties.pop("user_id", None)
            copy = amqp.Message(message.body, **properties)
            if not self._publish(copy, exchange, key) and not self._publish(copy, "", self._direct(source)):
                raise MigrationError(f"A message of queue {source} has nowhere to go; it stays there.")
            self._channel.basic_ack(message.delivery_tag)
            moved += 1
        return moved

    def _publish(self, message: Any, exchange: str, key: str) -> bool:  # noqa: ANN401
        """Publish with a confirmation, wait while the queue is full, and return whether one took it."""
        timeout = self._timeout_s
        end = time.monotonic() + timeout
        while True:
            self._returned.clear()
            try:
                self._channel.basic_publish_confirm(
                    message, exchange=exchange, routing_key=key, mandatory=True, timeout=timeout
                )
            except amqp.exceptions.MessageNacked as error:
                if time.monotonic() > end:
                    raise MigrationError(
                        f"For {timeout} s the broker has refused to store a message for {key}: the queue is "
                        "full or has no leader."
                    ) from error
                time.sleep(_LOOK_MIN_S)
            else:
                return not self._returned

    @staticmethod
    def _direct(source: str) -> str:
        """Return the queue for messages that nothing routes: the original of one beside, or the reverse."""
        return source.removeprefix(MIGRATION) if source.startswith(MIGRATION) else f"{MIGRATION}{source}"

    def _original(self, message: Any, name: str, mark: str) -> tuple[str, str, Attributes]:  # noqa: ANN401
        """Return where a message was published to, so that a retry finds its way."""
        exchange, key, headers = origin_of(message, mark)
        exists = ("exchange", exchange) in self._desired
        return (exchange, key, headers) if exists else ("", name, headers)

    def _delete(self, name: str, queue: Attributes) -> None:
        """Delete a queue that nothing is routed to as soon as its counts say that it is empty and unused.

        The broker checks that itself for a classic queue, and can't for the other types.
        """
        for waited_s in self._looks():
            held = self._counts(name)
            if not held.text:
                break
            if waited_s > self._timeout_s:
                raise MigrationError(
                    f"Queue {name} still has {held.text} at the end of its migration, and was kept. Run the "
                    "migration again."
                )
        classic = queue["arguments"].get("x-queue-type", "classic") == "classic"
        self._channel.queue_delete(name, **({"if_unused": True, "if_empty": True} if classic else {}))

    def _counts(self, name: str) -> Counts:
        held = self._count([name])[name]
        if held is None:
            raise MigrationError(f"The messages of queue {name} can't be counted now: is its node up?")
        return held

    @staticmethod
    def _looks() -> Iterator[float]:
        """Yield the seconds that have been waited, and wait in between."""
        begin = time.monotonic()
        while True:
            waited_s = time.monotonic() - begin
            yield waited_s
            time.sleep(min(max(waited_s / 10, _LOOK_MIN_S), _LOOK_MAX_S))

    def _limit(self, name: str, state: State) -> None:
        self._policy(f"queue.{name}", without_limits(self._own_policy(name, state), name))

    def _forget(self, name: str) -> None:
        for policy in (f"queue.{name}", f"beside.{name}"):
            self._drop_policy(policy)
        if name in self._begun:
            self._broker.remove(("global_parameter", record_name(self._vhost, name)), self._vhost)
            del self._begun[name]

    def _remember(self, name: str, value: Attributes) -> None:
        if self._begun.get(name) != value:
            self._broker.set_parameter(record_name(self._vhost, name), value)
            self._begun[name] = {**value}

    def _policy(self, name: str, policy: Attributes) -> None:
        self._broker.set_policy(self._vhost, f"{MIGRATION}{name}", policy)

    def _drop_policy(self, name: str) -> None:
        self._broker.remove_if_there(("policy", f"{MIGRATION}{name}"), self._vhost)

    def _own_policy(self, name: str, state: State) -> Attributes:
        return dict(state.get(("policy", f"{POLICY_PREFIX}{name}"), {}).get("definition", {}))

    def _lines(self, name: str, state: State) -> list[Binding]:
        return [each for each in bindings(state) if (each.kind, each.destination) == ("queue", name)]

    def _bind(self, each: Binding, *, nowait: bool = False) -> None:
        bind = self._channel.queue_bind if each.kind == "queue" else self._channel.exchange_bind
        bind(each.destination, each.source, each.routing_key, nowait=nowait, arguments=dict(each.arguments))

    def _exists(self, name: str) -> bool:
        try:
            # The broker closes the channel of somebody who asks for a queue that isn't there.
            self._channel.connection.channel().queue_declare(name, passive=True)
        except amqp.exceptions.NotFound:
            return False
        return True

    def _ready(self, name: str) -> int:
        return int(self._channel.queue_declare(name, passive=True).message_count)


def marked(message: Any, mark: str) -> Attributes:  # noqa: ANN401 - the library has no types
    """Return a message's headers with where it was published to, under the mark of a migration.

    Args:
        message: What ``basic_get`` returned.
        mark: The migration's own secret.
    """
    exchange, key, headers = origin_of(message, mark)
    return {**headers, _ORIGIN: json.dumps([exchange, key]), _MARK: mark}


def origin_of(message: Any, mark: str) -> tuple[str, str, Attributes]:  # noqa: ANN401
    """Return the exchange and the key that a message was published with, and its headers as they were.

    Args:
        message: What ``basic_get`` returned.
        mark: The migration's own secret. For a message without it the broker's own record counts, and
            its headers, whatever a publisher wrote there, stay.
    """
    headers = dict(message.properties.get("application_headers") or {})
    headers.pop(_DELIVERIES, None)
    if headers.get(_MARK) != mark:
        return message.delivery_info["exchange"], message.delivery_info["routing_key"], headers
    exchange, key = json.loads(headers.pop(_ORIGIN))
    del headers[_MARK]
    return exchange, key, headers
