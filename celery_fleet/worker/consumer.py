"""The worker's consumer: when it takes tasks, what it tells of itself, and nothing declared at the broker."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from amqp.exceptions import ConsumerCancelled, RecoverableConnectionError, ResourceLocked
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu import Connection

from celery_fleet.publishing.unconfirmed import UNCONFIRMED
from celery_fleet.state_file import StateFile
from celery_fleet.systemd import Notifier
from celery_fleet.worker import canary
from celery_fleet.worker.autoscale import may_shrink
from celery_fleet.worker.gate import Ending, Gate
from celery_fleet.worker.journal import Journal
from celery_fleet.worker.orders import STATE, Instance

logger = logging.getLogger(__name__)

# Seconds between looks at the control files.
CONTROL_INTERVAL = 0.5

# Seconds between status texts, and so at most between two signs of life.
REPORT_INTERVAL = 10.0

# Seconds between looks whether the broker still knows the consumer of an idle worker. The second one that
# finds tasks waiting decides.
CHECK_INTERVAL = 12.0

# Seconds in which the execution pool must have run the canary.
PROOF_TIMEOUT = 30.0

# Seconds in which a process that is not busy begins what it was given; it takes it milliseconds.
SETTLE_TIMEOUT = 1.0

# Microseconds. How much more time a start gets with each sign that it still waits for the broker.
START_EXTENSION = 60_000_000

# Seconds between rounds through all nodes. Celery's own grow to 30, which would be the pause of a
# worker whose broker was away for some minutes.
RECONNECT = {"interval_start": 1.0, "interval_step": 1.0, "interval_max": 5.0}

EX_FAILURE = 1


class _Impatient:
    """A connection whose loop without a hub, that of greenlets, comes round often enough for control."""

    def __init__(self, connection: Connection, every_round: Callable[[], None]) -> None:
        self._connection = connection
        self._every_round = every_round

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def drain_events(self, timeout: float) -> object:
        self._every_round()
        return self._connection.drain_events(timeout=min(timeout, CONTROL_INTERVAL))


class FleetConsumer(Consumer):
    """Celery's consumer, which takes tasks only when it may, and reports from its own loop.

    It takes none before its execution pool has run a canary, while the control files say so, and once it
    was told to stop. Then it cancels its consumers and gives back what has not started, at once; what runs
    goes on over the open connection. All of that happens in the loop, which goes round as ever.

    Ready means that the broker has confirmed the consumption of the queues, or that the operator does not
    want it. The watchdog is fed by the loop that also handles messages, and while it waits for a broker
    by the loop that does that; so a process that is stuck falls silent, and one without a broker does not.
    While stopping, which may take as long as the longest task, systemd does not watch.
    """

    class Blueprint(Consumer.Blueprint):
        """The start order without the step that would declare the delayed delivery's exchanges.

        Workers may not declare; the broker role has done it. Publishing with a delay is not affected.
        """

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.systemd = Notifier.from_environment()
        self.instance = Instance.from_environment()
        self._journal = Journal.from_environment()
        self._state_file = StateFile(
            None if self.instance.directory is None else self.instance.directory / STATE
        )
        self._ready = False  # once
        self._announced: object = None  # the connection's consumer that systemd was told of
        self._connected = False
        self._timed = False
        self._stopping = False
        self._end: Callable[[], object] | None = None  # Celery's own handler of the signal to stop
        self._obstacle = ""
        self._proof: str | None = None  # "running", "proved", or why not
        self._proof_started = 0.0
        self._paused = False
        self._done = 0  # rounds in which a stopping worker had nothing to do any more
        self._executed = self._failed = self._lost_consumers = 0
        self._last_task: float | None = None
        self._next_control = self._next_report = 0.0
        self._next_check, self._suspicions = 0.0, 0
        self._queues_by_tag: dict[str, str] = {}
        super().__init__(*args, **kwargs)
        self.gate = Gate(self._start_task, self._task_ended)
        self.on_task_request = self.gate.submit
        autoscaler = getattr(self.controller, "autoscale", None)
        self._arguments = autoscaler[0] if autoscaler else self.pool.limit
        self.slots: int = self._arguments
        # This node's control queue is exclusive. After a crash or a network failure the broker
        # keeps it for the lost connection until heartbeats have failed; Celery would give up at
        # once, although it only has to wait.
        self.connection_errors: tuple[type[Exception], ...] = (
            *self.conninfo.connection_errors,
            ResourceLocked,
        )

    def start(self) -> None:
        """Run the worker's loop until it is stopped."""
        if self.pool.is_green:
            # The gate keeps the number; a pool that is full itself would hold up the loop.
            self.pool._pool = self.pool.Pool()
            self.pool._quick_put = self.pool._pool.spawn
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGTERM)
            if callable(before):
                self._end = lambda: before(signal.SIGTERM, None)
                signal.signal(signal.SIGTERM, self._on_stop_signal)
        self._write_state(at_once=True)
        super().start()

    def stop(self) -> None:
        """Stop; what a stop by the signal has left to do is little."""
        self._begin_stopping()
        if self._consuming:
            try:
                self._stop_consuming()
            except (*self.connection_errors, *self.channel_errors) as error:
                logger.warning("Cannot tell the broker that this worker stops: %s", error)
        self._write_state(at_once=True)
        super().stop()

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, waiting for a broker as long as it takes, with signs of life meanwhile."""
        if self._connected:  # a connection beside that of the tasks, for control
            return super().ensure_connected(conn)
        ensure = conn.ensure_connection
        self._report_waiting()
        self._end_without_broker()

        def reporting(
            errback: Callable[..., None], max_retries: int | None, callback: Callable[[], None]
        ) -> Connection:
            def failed(error: Exception, interval: float) -> None:
                self._obstacle = str(error)
                errback(error, interval)

            def waiting() -> None:
                self._report_waiting()
                self._end_without_broker()
                callback()

            return ensure(failed, max_retries, **RECONNECT, callback=waiting)

        conn.ensure_connection = reporting
        return super().ensure_connected(conn)

    def connection_for_write(self, url: object = None, heartbeat: float | None = None) -> Connection:
        """Connect for the worker's events, the only thing that is published from here."""
        connection = self.app.connection_for_write(
            url=url, heartbeat=heartbeat, transport_options=UNCONFIRMED
        )
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Clean up after a lost connection, and remember why it was lost for the status."""
        self._obstacle = str(exc)
        if isinstance(exc, ConsumerCancelled):
            self._lost_consumers += 1
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Forget what was received and not started: the broker delivers it again."""
        self._connected = False
        self.gate.set(slots=self.slots, is_open=False)
        self.gate.withdraw()
        if self._has_processes:
            self._settle()
        super().on_close()

    def _settle(self) -> None:
        """Let the processes begin what was given to them, and forget what they do not.

        Celery's pool is about to forget every task that no process has said to have begun, and would never
        tell the end of those that a process begins all the same: their slots would be lost.
        """
        pool, begun = self.pool._pool, time.monotonic()
        while True:
            waiting = {
                # A pool that is being closed gives no job.
                request: request._apply_result and request._apply_result()
                for request in self.gate.running
                if not request.time_start
            }
            given = [job for job in waiting.values() if job and job._write_to and job._write_to._is_alive()]
            if not given or time.monotonic() - begun > SETTLE_TIMEOUT:
                break
            for job in given:
                if writer := getattr(job, "_writer", lambda: None)():  # it is written in part
                    pool._flush_writer(job._write_to, writer)
                pool.process_flush_queues(job._write_to)
        for request, job in waiting.items():
            if job:
                job.discard()
            self.gate.release(request)

    def loop_args(self) -> tuple[Any, ...]:
        """Give Celery's loop what it works with."""
        consumer, connection, *rest = super().loop_args()
        return (consumer, connection if self.hub else _Impatient(connection, self._round), *rest)

    def on_ready(self) -> None:
        """Begin with control in the first round of the loop, after Celery's own last checks."""
        super().on_ready()
        self._connected = True
        self._obstacle = ""
        self._next_control = self._next_check = 0.0
        if self.hub:
            self.call_soon(self._first_round)

    def fit(self) -> None:
        """Hand out no more tasks than there are slots, nor than there are processes to run them."""
        slots = min(self.slots, self.pool.num_processes) if self._has_processes else self.slots
        self.gate.set(slots=slots, is_open=self._consuming)

    # The loop's own part.

    def _first_round(self) -> None:
        if not self._timed:
            # From within the loop, so that Celery keeps it over reconnections.
            self._timed = True
            self.timer.call_repeatedly(CONTROL_INTERVAL, self._round)
        self._round()

    def _round(self) -> None:
        now = time.monotonic()
        if now < self._next_control or not self._connected:
            return
        self._next_control = now + CONTROL_INTERVAL * 0.9
        try:
            self._control()
        except self.connection_errors:
            raise
        except self.channel_errors as error:
            if self._ready:
                # A worker that consumed once has a right to its queues. If one is gone now, or a channel is
                # closed for another reason, then an operator is at work: it tries until it is served again.
                raise RecoverableConnectionError(str(error)) from error
            logger.critical("The broker does not let this worker consume: %s", error)
            self.controller.exitcode = EX_FAILURE
            state.should_stop = EX_FAILURE
            return
        self._report()
        self._write_state()

    def _control(self) -> None:
        self._obey()
        if self._proof != "proved" and not self._stopping:
            self._prove()
        wanted = self._proof == "proved" and not (self._stopping or self._paused or self.slots < 1)
        if wanted and not self._consuming:
            self._consume()
        elif self._consuming and not wanted:
            self._stop_consuming()
        elif not self._consuming:
            self._give_back()
        else:
            self._look_for_consumer()
        if self._stopping:
            self._finish()

    def _obey(self) -> None:
        orders = self.instance.orders()
        if orders.paused != self._paused:
            self._paused = orders.paused
            logger.warning("This worker is %s", "paused" if orders.paused else "no longer paused")
        wanted = self._arguments if orders.slots is None else orders.slots
        slots = max(0, wanted - orders.taken)
        if slots != self.slots:
            logger.info("This worker has %d slots instead of %d", slots, self.slots)
            self.slots = slots
            if self._consuming and slots > 0:
                self._stop_consuming()  # with another number it begins anew, in the same round
        if self._timed:  # before, Celery would take a process that ends for one that could not start
            self._fit_pool()

    def _fit_pool(self) -> None:
        pool, slots = self.pool, max(self.slots, 1)
        autoscaler = getattr(self.controller, "autoscaler", None)
        if autoscaler is not None:
            least = self.controller.autoscale[1]
            autoscaler.max_concurrency, autoscaler.min_concurrency = slots, min(least, slots)
        elif self._has_processes:
            if slots > pool.num_processes:
                pool.grow(slots - pool.num_processes)
            elif slots < pool.num_processes and may_shrink(pool):
                idle = pool.num_processes - len(self.gate.running)
                if excess := min(pool.num_processes - slots, idle):
                    pool.shrink(excess)
        else:
            if (executor := getattr(pool, "executor", None)) is not None:
                executor._max_workers = max(executor._max_workers, slots)
            pool.limit = slots
        self.fit()

    def _consume(self) -> None:
        prefetch = self.initial_prefetch_count = max(self.slots, 1) * self.prefetch_multiplier
        consumer = self.task_consumer
        consumer.channel.basic_qos(0, prefetch, bool(self.qos_global))
        self.qos.value = self.qos.prev = prefetch
        consumer.allowed = True
        consumer.consume()
        self._queues_by_tag.update(consumer.queues_by_tag)
        self._next_check = time.monotonic() + CHECK_INTERVAL
        self._suspicions = 0
        self.fit()

    def _stop_consuming(self) -> None:
        self.gate.set(slots=self.slots, is_open=False)
        self.task_consumer.allowed = False
        self.task_consumer.cancel()
        self._give_back()

    def _give_back(self) -> None:
        """Return to the queues what was received and has not started."""
        requests = self.gate.withdraw()
        for request in list(state.scheduled_requests):
            if request._eta_timer_entry is not None:
                self.timer.cancel(request._eta_timer_entry)
            requests.append(request)
        for bucket in self.task_buckets.values():
            if bucket:
                requests += [request for request, _ in bucket.contents]
                bucket.clear_pending()
        for request in requests:
            if request.acknowledged or request.revoked():
                continue
            state.task_ready(request)
            request.acknowledged = True
            request.message.reject_log_error(logger, self.connection_errors, requeue=True)
        if requests:
            logger.info("Gave %d tasks back that had not started", len(requests))

    def _look_for_consumer(self) -> None:
        """Notice that the broker has no consumer any more though nobody said so."""
        now = time.monotonic()
        if self.gate.running or self.gate.waiting:
            self._next_check, self._suspicions = now + CHECK_INTERVAL, 0
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL
        consumer, backlog = self.task_consumer, False
        served = set(consumer.queues_by_tag.values())
        lost = any(queue.name not in served for queue in consumer.queues)
        for queue in served:
            found = consumer.channel.queue_declare(queue, passive=True)
            lost |= found.consumer_count == 0
            backlog |= found.message_count > 0
        idle = not (self.gate.running or self.gate.waiting)
        self._suspicions = self._suspicions + 1 if backlog and idle else 0
        if lost or self._suspicions > 1:
            raise ConsumerCancelled("the broker has lost this worker's consumer")

    # The proof, and each task.

    def _prove(self) -> None:
        if self._proof is None:
            self._proof, self._proof_started = "running", time.monotonic()
            canary.prove(self.app, self.pool, self.hostname, self._proved, self._not_proved)
            return
        if self._proof == "running":
            if time.monotonic() - self._proof_started < PROOF_TIMEOUT:
                return
            self._proof = f"no answer for {PROOF_TIMEOUT:g} s"
        logger.critical("The execution pool did not run its canary: %s. No task was taken.", self._proof)
        self._write_state(at_once=True)
        logging.shutdown()
        if self._has_processes:
            self.pool.terminate()
        # Whatever holds the pool up would hold up a proper end, too, and there is nothing to be lost.
        os._exit(EX_FAILURE)

    def _proved(self) -> None:
        self._proof = "proved"
        self._next_control = 0.0
        if self.hub:
            self.hub.call_soon(self._round)

    def _not_proved(self, reason: str) -> None:
        if self._proof == "running":
            self._proof = reason

    def _start_task(self, request: Request) -> object:
        return request.execute_using_pool(self.pool)

    def _task_ended(self, request: Request, ending: Ending) -> None:
        self._executed += 1
        self._failed += ending.failed
        self._last_task = time.time()
        self._journal.write(
            f"Task {request.name}[{request.id}] ended: {ending.state} after {ending.runtime:.3f} s",
            failed=ending.failed,
            TASK_NAME=request.name,
            TASK_ID=request.id,
            RUNTIME=f"{ending.runtime:.6f}",
            QUEUE=self._queue(request),
            POOL=self.instance.pool,
            STATE=ending.state,
        )

    # The stop.

    def _on_stop_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._next_control = 0.0

    def _begin_stopping(self) -> None:
        self._stopping = True
        if self._done == 0:
            self._done = 1
            self.systemd.send("STOPPING=1", f"STATUS={self._status()}")

    def _end_without_broker(self) -> None:
        """Leave what runs to Celery's own stop: what the lost connection brought can't be acknowledged."""
        if self._stopping and self._end is not None:
            self._begin_stopping()
            self._end()

    def _finish(self) -> None:
        """End once nothing runs, a round later, when the last acknowledgement is on its way."""
        self._begin_stopping()
        if self.gate.running:
            self._done = 1
            return
        self._done += 1
        if self._done > 2 and self._end is not None:
            end, self._end = self._end, None
            end()

    # What it tells.

    @property
    def _has_processes(self) -> bool:
        return bool(self.pool.uses_semaphore)

    @property
    def _consuming(self) -> bool:
        return self._connected and self.task_consumer is not None and self.task_consumer.allowed

    def _report(self) -> None:
        now = time.monotonic()
        if self._proof != "proved" or self._stopping:
            return
        if self._announced is not self.task_consumer:
            self._announced = self.task_consumer
            self.systemd.send("READY=1", "WATCHDOG=1", f"STATUS={self._status()}")
            self._ready = True
        elif now >= self._next_report:
            self.systemd.send("WATCHDOG=1", f"STATUS={self._status()}")
        else:
            return
        self._next_report = now + min(REPORT_INTERVAL, (self.systemd.watchdog or REPORT_INTERVAL) / 3)

    def _report_waiting(self) -> None:
        obstacle = f": {self._obstacle}" if self._obstacle else ""
        states = ["WATCHDOG=1", f"STATUS=Waiting for the broker{obstacle}"]
        if not self._ready:
            states.append(f"EXTEND_TIMEOUT_USEC={START_EXTENSION}")
        self.systemd.send(*states)
        self._obey()
        self._write_state()

    def _status(self) -> str:
        active = len(self.gate.running)
        if self._stopping:
            return f"Stopping: {active} active"
        if not self._consuming:
            return f"Paused: {active} active"
        return f"Consuming: {active} active, {self._reserved()} reserved"

    def _reserved(self) -> int:
        return self.gate.waiting + len(state.scheduled_requests)

    def _write_state(self, *, at_once: bool = False) -> None:
        if self._stopping:
            called = "stopping"
        elif not self._connected:
            called = "waiting" if self._obstacle or self._ready else "starting"
        elif self._proof != "proved":
            called = "starting"
        else:
            called = "consuming" if self._consuming else "paused"
        obstacle = self._obstacle
        if called == "paused" and not self._paused:
            obstacle = "no slot is free"
        current = {
            "pool": self.instance.pool,
            "instance": self.instance.name,
            "node": self.hostname,
            "release": self.instance.release,
            "pid": os.getpid(),
            "state": called,
            "obstacle": obstacle,
            "slots": self.slots,
            "active": sorted((self._task(each) for each in self.gate.running), key=lambda task: task["id"]),
            "reserved": self._reserved(),
            "executed": self._executed,
            "failed": self._failed,
            "last_task": self._last_task,
            "proved": self._proof == "proved",
            "restarts_lost_consumer": self._lost_consumers,
        }
        self._state_file.write(current, at_once=at_once)

    def _task(self, request: Request) -> dict[str, Any]:
        return {
            "id": request.id,
            "name": request.name,
            "queue": self._queue(request),
            "started": request.time_start,
            "time_limit": request.time_limits[0] or request.task.time_limit or self.app.conf.task_time_limit,
        }

    def _queue(self, request: Request) -> str:
        origin = request.message.delivery_info
        return self._queues_by_tag.get(origin.get("consumer_tag"), origin.get("routing_key") or "")
