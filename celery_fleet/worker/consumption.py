"""What the broker delivers to a worker: begin and end it, give back what has not started, notice its loss."""

from __future__ import annotations

import logging
import time
from typing import Any

from amqp.exceptions import ConsumerCancelled
from celery.utils.quorum_queues import detect_quorum_queues
from celery.worker import state
from celery.worker.request import Request
from kombu import Message

from celery_fleet.minors import scheduled
from celery_fleet.nodes import series
from celery_fleet.worker.gate import Gate
from celery_fleet.worker.phase import Condition

logger = logging.getLogger(__name__)

# Seconds between looks whether the broker still knows the consumer of an idle worker. The second suspicious
# one in a row decides, since a quorum queue whose leader is slow (250 ms) is said to have no consumer.
CHECK_INTERVAL = 12.0

# Of tasks at a time: the protocol has 16 bits for them.
LARGEST_PREFETCH = 65_535

# Seconds between questions of an idle worker that only a node with a majority answers. With the time for an
# answer (protocol.REPLY_TIMEOUT) they bound how long a worker stays at a node that is cut off.
RENEWAL_INTERVAL = 5.0
# From this series on nodes that are cut off do not pause by themselves.
NEVER_PAUSES = (4, 3)


class Consumption:
    """The consumption of the pool's queues over the connection of the moment.

    Args:
        condition: The worker's condition, which is told whether it consumes.
        gate: Where received tasks wait and run.
        consumer: Celery's consumer, of which each connection makes another `task_consumer`.
    """

    def __init__(self, condition: Condition, gate: Gate, consumer: Any) -> None:  # noqa: ANN401 - Celery's
        self._condition = condition
        self._gate = gate
        self._celery = consumer
        self._queues_by_tag: dict[str, str] = {}
        self._next_check, self._next_renewal, self._suspicions = 0.0, 0.0, 0

    def begin(self) -> None:
        """Start the delivery of as many tasks as the slots and the prefetch multiplier allow."""
        celery, consumer = self._celery, self._celery.task_consumer
        prefetch = min(max(self._condition.slots, 1) * celery.prefetch_multiplier, LARGEST_PREFETCH)
        celery.initial_prefetch_count = prefetch
        # As Celery decides it: for all consumers of the channel at once, which quorum queues do not know.
        quorum, _ = detect_quorum_queues(celery.app, "amqp")
        consumer.channel.basic_qos(0, prefetch, not quorum)
        celery.qos.value = celery.qos.prev = prefetch
        consumer.allowed = True
        consumer.consume()
        self._condition.consuming = True
        self._queues_by_tag.update(consumer.queues_by_tag)
        celery.report.counters.serves(consumer.queues_by_tag.values())
        now = time.monotonic()
        self._next_check, self._next_renewal = now + CHECK_INTERVAL, now + RENEWAL_INTERVAL
        self._suspicions = 0

    def end(self) -> None:
        """Stop the delivery, and return what has not started to the broker."""
        self.close_gate()
        self._condition.consuming = False
        self._celery.task_consumer.allowed = False
        self._celery.task_consumer.cancel()
        self.give_back()

    def close_gate(self) -> None:
        """Start nothing more."""
        self._gate.set(slots=self._condition.slots, is_open=False)

    def forget(self) -> None:
        """Drop what was received over a lost connection and not started: it is delivered again."""
        self._condition.connected = self._condition.consuming = False
        self.close_gate()
        self._gate.withdraw()

    def give_back(self) -> None:
        """Return to the queues what was received and has not started."""
        requests = self._gate.withdraw()
        for request, entry in scheduled(self._celery.timer):
            self._celery.timer.cancel(entry)
            requests.append(request)
        for bucket in self._celery.task_buckets.values():
            if bucket:
                requests += [request for request, _ in bucket.contents]
                bucket.clear_pending()
        for request in requests:
            if request.acknowledged or request.revoked():
                continue
            self._celery.report.counters.count("returned")
            state.task_ready(request)
            request.acknowledged = True
            self._return(request.message)
        if requests:
            logger.info("Gave %d tasks back that had not started", len(requests))

    def _return(self, message: Message) -> None:
        try:
            message.channel.basic_nack(message.delivery_tag)
        except self._celery.connection_errors as error:
            logger.critical("Cannot give back %s: %r", message.delivery_tag, error)
        else:
            message._state = "REQUEUED"

    def reserved(self) -> int:
        """Count what was received and has not started."""
        return self._gate.waiting + sum(1 for _ in scheduled(self._celery.timer))

    def check(self) -> None:
        """Notice that the broker has no consumer any more though nobody said so.

        Raises:
            ConsumerCancelled: Twice in a row it had none, or delivered nothing of what waits in the queues.
        """
        now = time.monotonic()
        if self._gate.running or self._gate.waiting:
            self._next_check, self._suspicions = now + CHECK_INTERVAL, 0
            self._next_renewal = now + RENEWAL_INTERVAL
        if now >= self._next_renewal:
            self._next_renewal = now + RENEWAL_INTERVAL
            self._renew()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL
        consumer, suspicious = self._celery.task_consumer, False
        served = set(consumer.queues_by_tag.values())
        for queue in served:
            queue_state = consumer.channel.queue_declare(queue, passive=True)
            suspicious |= queue_state.consumer_count == 0 or queue_state.message_count > 0
        # Something may have arrived while the broker answered.
        idle = not (self._gate.running or self._gate.waiting)
        self._suspicions = self._suspicions + 1 if suspicious and idle else 0
        if self._suspicions > 1 or any(queue.name not in served for queue in consumer.queues):
            raise ConsumerCancelled("the broker has lost this worker's consumer")

    def _renew(self) -> None:
        """Consume one of the queues anew, which a node that is cut off from the others cannot answer.

        It takes itself for the leader of its queues, and says of them that all is well.
        """
        nodes = self._celery.app.amqp.fleet.broker.nodes
        consumer = self._celery.task_consumer
        if len(nodes) < 2 or not consumer.queues or series(self._celery.connection) < NEVER_PAUSES:
            return
        self._queues_by_tag = dict(consumer.queues_by_tag)
        consumer.renew()
        self._queues_by_tag.update(consumer.queues_by_tag)

    def check_soon(self) -> None:
        """Check at the next opportunity."""
        self._next_check = 0.0

    def queue_of(self, request: Request) -> str:
        """Name the queue that a task was delivered from.

        Args:
            request: The task.

        Returns:
            The queue, or the routing key if its consumer is unknown.
        """
        origin = request.message.delivery_info
        return self._queues_by_tag.get(origin.get("consumer_tag"), origin.get("routing_key") or "")
