"""Celery's publishing side with the fleet's routes and without silent loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.app.amqp import AMQP, Queues, task_message
from celery.app.routes import Router as CeleryRouter
from celery.utils.collections import lpmerge
from kombu import Consumer, Exchange, Producer, Queue
from kombu.pools import ProducerPool
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    MAX_NUMBER_OF_BITS_TO_USE,
    level_name,
)

from celery_fleet.connection import connect
from celery_fleet.fleet import Fleet
from celery_fleet.minors import PERIODIC_HEADER
from celery_fleet.protocol import REPLY_TIMEOUT
from celery_fleet.publishing import forks, published
from celery_fleet.publishing.producer import PATIENCE, FleetProducer
from celery_fleet.publishing.router import HINT_HEADER, Router

# Waits for the tasks of a chord where the result backend cannot count them, by looking again and again.
CHORD_UNLOCK = "celery.chord_unlock"

# Call another task in their own process. Celery routes them by that task's name, but not in groups,
# which is what `chunks` makes.
MAPS = frozenset({"celery.map", "celery.starmap"})

# A delayed task is delivered from the exchange behind its delay's lowest bit, a moved one from the last.
_LEVELS = map(level_name, range(MAX_NUMBER_OF_BITS_TO_USE))
OTHER_EXCHANGES = frozenset({CELERY_DELAYED_DELIVERY_EXCHANGE, *_LEVELS, "celery_fleet_move_out"})

# Seconds. A broker that stopped taking messages (memory or disk alarm, no majority) confirms
# nothing, and so does one that hangs; each attempt to publish waits that long, at a node each.
CONFIRM_TIMEOUT = REPLY_TIMEOUT


class TaskRouter(CeleryRouter):
    """Turns what a publisher says about a task into a queue, its exchange and its routing key.

    The exchange and the key are always named: Celery would send a task that names only its queue
    around a direct exchange to the default one, where clients may not write.
    """

    def __init__(self, *args: object, rules: Router, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.rules = rules
        self._by_address = {(q.exchange.name, q.routing_key): q for q in self.queues.values()}

    def route(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
        task_type: Task | None = None,
    ) -> dict[str, Any]:
        """Route a task: as its publisher says, by hint, by the application's own routes, by the rules."""
        routed = self.with_address(self.choose(options, name, args, kwargs, task_type))
        # Celery 5.5.0 asks the queue of every task for the type of its exchange.
        routed["queue"] = routed["queue"] or Queue(exchange=Exchange(type=routed["exchange_type"]))
        return routed

    def choose(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
        task_type: Task | None = None,
    ) -> dict[str, Any]:
        """Return the options of a task with what leads to its queue, which need not exist."""
        chosen = dict(options)
        if task_type is None and (task_type := self.app._tasks.get(name)):
            # `send_task` looks at the definition of a task that this process has since Celery 5.7.
            chosen = lpmerge({"queue": getattr(task_type, "queue", None)}, chosen)
        if name == CHORD_UNLOCK:
            # Celery sends it to the queue of the chord's body, whose tasks may run for hours: it
            # would wait behind them and take their place to do nothing but look.
            address = {"queue": self.rules.explain(name).queue, "exchange": None, "routing_key": None}
            return {**chosen, **address}
        if not self._is_addressed(chosen):
            headers = chosen.get("headers") or {}
            if name in MAPS and isinstance(called := (kwargs or {}).get("task"), Mapping):
                name = called["task"]
            if task_type is not None and task_type.name != name:
                task_type = self.app.tasks.get(name)
            hint = headers.get(HINT_HEADER) or _text(getattr(task_type, "resource", None))
            if hint:
                chosen["queue"] = self.rules.by_hint(hint).queue
            elif own := self.lookup_route(name, args, kwargs or {}, chosen, task_type):
                chosen = lpmerge({"queue": own} if isinstance(own, str) else dict(own), chosen)
            if not self._is_addressed(chosen):
                chosen["queue"] = self.rules.explain(name, periodic=bool(headers.get(PERIODIC_HEADER))).queue
        return chosen

    def _is_addressed(self, options: Mapping[str, Any]) -> bool:
        return bool(options.get("queue") or (options.get("exchange") and options.get("routing_key")))

    def with_address(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a task with its queue, exchange and routing key.

        Raises:
            QueueNotFound: They name a queue that the fleet does not have.
        """
        exchange, key = name_of(options.get("exchange")), options.get("routing_key")
        queue = self.queue_at(exchange, key) if exchange and key else None
        if queue is None and (named := self.rules.by_alias(name_of(options.get("queue")) or "")):
            # An exchange and a key beside an alias are those that its queue had elsewhere.
            options, exchange, key = {**options, "queue": named}, None, None
        if exchange and key:
            # A retry names the exchange and key of its delivery. The queue of the task's
            # definition may be another one, and Celery would prefer that for a delayed retry.
            if queue is None:
                # Not ours: no native delay, whose last step would drop the task silently.
                return {**options, "queue": None, "exchange_type": "direct"}
            exchange = key = None
        else:
            # By its name, also where a publisher has made an object of it: that has neither exchange nor key
            # of the fleet's, and would be declared.
            queue = self.expand_destination({"queue": name_of(options.get("queue"))})["queue"]
        return {
            **options,
            "queue": queue,
            "exchange": exchange or queue.exchange.name,
            "exchange_type": queue.exchange.type,
            "routing_key": key or queue.routing_key,
        }

    def queue_at(self, exchange: str, key: str) -> Queue | None:
        """Return the fleet's queue to which an exchange leads with a key, delayed or not."""
        if exchange not in OTHER_EXCHANGES:
            return self._by_address.get((exchange, key))
        # After a delay the key still has the delay before it, one bit a word.
        keys = (key, key.split(".", MAX_NUMBER_OF_BITS_TO_USE)[-1])
        queues = self._by_address.items()
        return next((queue for wanted in keys for (_, own), queue in queues if own == wanted), None)


class TaskConsumer(Consumer):
    """Consumes only while the worker allows it; Celery would begin as soon as it is connected."""

    allowed = False

    def consume(self, no_ack: bool | None = None) -> None:
        """Start consuming from the queues, if that is allowed now."""
        if self.allowed:
            super().consume(no_ack)

    def renew(self) -> None:
        """Consume a queue anew, another one each time, by two commands in the time for one answer."""
        queue = self.queues[0]
        former = self._active_tags.pop(queue.name, None)
        self._basic_consume(queue, no_ack=self.no_ack, nowait=True)
        self._queues[queue.name] = self._queues.pop(queue.name)  # becomes the last one
        if former is not None:
            with self.channel.connection.answered_in_time():
                self.channel.basic_cancel(former)

    @property
    def queues_by_tag(self) -> dict[str, str]:
        """The name of the queue by the tag that its deliveries carry."""
        return {tag: queue for queue, tag in self._active_tags.items()}


class FleetAMQP(AMQP):
    """What `app.amqp` is in an application of the fleet.

    Args:
        app: The application.
        fleet: The fleet that it belongs to.
        patience: Seconds that a publisher waits for room in a full queue.
        own_queues: Names of queues that the application lists in its settings.
    """

    Connection = staticmethod(connect)
    Consumer = TaskConsumer

    def __init__(
        self,
        app: Celery,
        fleet: Fleet,
        patience: float = PATIENCE,
        own_queues: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(app)
        self.fleet, self.own_queues = fleet, own_queues
        self._making_pool = threading.RLock()
        self._rules = Router(fleet.routing)
        self.Producer = partial(FleetProducer, patience=patience, largest=fleet.broker.max_message_size)

    def Router(self, queues: Queues | None = None, create_missing: bool | None = None) -> TaskRouter:  # noqa: N802 - Celery's name
        """Return the current task router."""
        return TaskRouter(self.routes, queues or self.queues, False, app=self.app, rules=self._rules)

    @property
    def producer_pool(self) -> ProducerPool:
        """The pool of producers that tasks are published with."""
        forks.look()
        # Celery makes it at the first publish, and then sets its limit: that fails while another thread
        # publishes by it.
        with self._making_pool:
            pool = super().producer_pool
        pool.Producer = self.Producer
        return pool

    publisher_pool = producer_pool

    def _create_task_sender(self) -> Callable[..., object]:
        send = super()._create_task_sender()

        def send_task_message(
            producer: Producer, name: str, message: task_message, **options: object
        ) -> object:
            # Publishers may neither declare nor send events: the broker would close the channel at each
            # task, and the events would pile up in this process.
            options |= {"declare": [], "headers": published.stamped(options.get("headers"))}
            message = message._replace(sent_event=None)
            # Celery passes every task's `mandatory` on, None where it has none.
            if options.get("mandatory") is None:
                options["mandatory"] = True
            # The broker tells by it how old the oldest task of a queue is, and an operator may cancel what
            # was published until now.
            options.setdefault("timestamp", int(time.time()))
            if options.get("confirm_timeout") is None:
                options["confirm_timeout"] = CONFIRM_TIMEOUT
            return send(producer, name, message, **options)

        return send_task_message


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def name_of(entity: Exchange | Queue | str | None) -> str | None:
    """Return the name of an exchange or a queue that is given as such or by its name."""
    name: str | None = getattr(entity, "name", entity)
    return name or None
