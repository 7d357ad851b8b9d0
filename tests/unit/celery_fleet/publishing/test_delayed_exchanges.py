"""The exchange that a delayed task is delivered from, by kombu's own topology, and the router's way back."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport import native_delayed_delivery as kombu_delays

from celery_fleet.fleet import Fleet

FIRST = kombu_delays.level_name(kombu_delays.MAX_LEVEL)
LONGEST = 2**kombu_delays.MAX_NUMBER_OF_BITS_TO_USE - 1


class Topology:
    """A channel and connection that note what kombu declares, and route by it as a broker does."""

    def __init__(self) -> None:
        self.exchange_bindings: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.queue_bindings: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.expires_to: dict[str, str] = {}
        kombu_delays.declare_native_delayed_delivery_exchanges_and_queues(self, "quorum")

    def channel(self) -> Topology:
        return self

    def exchange_declare(self, **_: object) -> None:
        """Exchanges need nothing more than their bindings."""

    def queue_declare(self, queue: str, arguments: dict[str, Any], **_: object) -> None:
        self.expires_to[queue] = arguments["x-dead-letter-exchange"]

    def queue_bind(self, queue: str, exchange: str, routing_key: str, **_: object) -> None:
        self.queue_bindings[exchange].append((routing_key, queue))

    def exchange_bind(self, destination: str, source: str, routing_key: str, **_: object) -> None:
        self.exchange_bindings[source].append((routing_key, destination))

    def prepare_queue_arguments(self, arguments: dict[str, Any], **_: object) -> dict[str, Any]:
        return arguments

    def __getattr__(self, name: str) -> Any:
        if name == "connection":
            return self
        raise AttributeError(name)

    def last_exchange(self, key: str) -> str:
        """Return the exchange that a message with this key, published with a delay, is delivered from."""
        published_to, reached = FIRST, FIRST
        while True:
            queues = [queue for pattern, queue in self.queue_bindings[reached] if _matches(pattern, key)]
            onward = [to for pattern, to in self.exchange_bindings[reached] if _matches(pattern, key)]
            assert len(queues) + len(onward) <= 1
            if queues:  # it waits there, and then is published anew
                published_to = reached = self.expires_to[queues[0]]
            elif onward:
                reached = onward[0]
            else:
                assert reached == kombu_delays.CELERY_DELAYED_DELIVERY_EXCHANGE
                return published_to


def _matches(pattern: str, key: str) -> bool:
    parts = {"*": r"[^.]*", "#": r".*"}
    words = [parts.get(word) or re.escape(word) for word in pattern.split(".")]
    return re.fullmatch(r"\.".join(words), key) is not None


TOPOLOGY = Topology()


def test_the_last_hop_is_behind_the_lowest_bit() -> None:
    def last(seconds: int) -> str:
        return TOPOLOGY.last_exchange(kombu_delays.calculate_routing_key(seconds, "cpu.ml"))

    assert [last(seconds) for seconds in (1, 3, 2, 4, LONGEST + 1 >> 1)] == [
        "celery_delayed_delivery",
        "celery_delayed_delivery",
        "celery_delayed_0",
        "celery_delayed_1",
        "celery_delayed_26",
    ]


@pytest.fixture
def router(make_app: Callable[..., Celery]) -> Any:
    return make_app().amqp.router


@given(data=st.data(), delays=st.lists(st.integers(1, LONGEST), min_size=1, max_size=5))
def test_a_task_that_is_delayed_again_and_again_stays_in_its_queue(
    router: Any, fleet: Fleet, data: st.DataObject, delays: list[int]
) -> None:
    pool, queue = data.draw(st.sampled_from(list(fleet.addresses().values())))
    exchange, key = pool.exchange, queue.routing_key
    for delay in [*delays, None]:
        routed = router.route({"exchange": exchange, "routing_key": key}, "any.task")
        found = (routed["queue"].name, routed["exchange"], routed["routing_key"])
        assert found == (queue.name, pool.exchange, queue.routing_key)
        if delay is not None:
            key = kombu_delays.calculate_routing_key(delay, queue.routing_key)  # as Celery does
            assert len(key) < 255
            exchange = TOPOLOGY.last_exchange(key)
