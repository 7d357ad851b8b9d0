"""Celery's consumer as the fleet's workers have it: where Celery calls the pieces of this room."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from amqp.exceptions import RecoverableConnectionError
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu import Connection

from celery_fleet.minors import ConnectionTimers
from celery_fleet.nodes import suspect
from celery_fleet.publishing.unconfirmed import UNCONFIRMED
from celery_fleet.worker import canary
from celery_fleet.worker.consumption import Consumption
from celery_fleet.worker.execution import contain
from celery_fleet.worker.gate import Gate
from celery_fleet.worker.intake import GuardedConsumer
from celery_fleet.worker.limits import Limits
from celery_fleet.worker.orders import Instance
from celery_fleet.worker.phase import Condition
from celery_fleet.worker.readiness import EX_FAILURE, SelfTest, give_up
from celery_fleet.worker.report import Report
from celery_fleet.worker.revoked import Revocations
from celery_fleet.worker.slots import Slots
from celery_fleet.worker.stop import Stop
from celery_fleet.worker.waiting import PollingConnection, wait_with_rounds

logger = logging.getLogger(__name__)

# Seconds between rounds: looks at the orders, and whatever follows from them.
INTERVAL = 0.5


class FleetConsumer(GuardedConsumer):
    """Celery's consumer, which takes tasks only when it may, and reports from its own loop.

    It takes none before its execution pool has run a canary, while the orders say so, and once it was told
    to stop. Then it cancels its consumers and gives back what has not started, at once; what runs goes on
    over the open connection. All of that happens in the loop, which goes round as ever.

    Ready means that the broker has confirmed the consumption of the queues, or that the operator does not
    want it. The watchdog is fed by the loop that also handles messages, and while it waits for a broker
    by the loop that does that; so a process that is stuck falls silent, and one without a broker does not.
    While stopping, which may take as long as the longest task, systemd does not watch.
    """

    class Blueprint(Consumer.Blueprint):
        """The start order without the step that declares the exchanges of delays, which workers may not."""

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.condition = Condition()
        self._in_loop = False
        self._next_round = 0.0
        super().__init__(*args, **kwargs)
        contain(self.pool)
        self.gate = Gate(self._start_task, lambda *end: self.report.task_ended(*end), self._task_broken)
        self.on_task_request = self.gate.submit
        self.instance = Instance.from_environment()
        self.limits = Limits(self.app.amqp.fleet.pools.get(self.instance.pool))
        self.timers = ConnectionTimers(self.hub)
        self.revocations = Revocations(self.app.amqp.fleet.path, self.pool)
        self.slots = Slots(self.condition, self.gate, self.pool, self.controller)
        self.consumption = Consumption(self.condition, self.gate, self)
        self.report = Report(
            self.condition,
            self.gate,
            self.hostname,
            self.instance,
            self.consumption.queue_of,
            self.consumption.reserved,
            self.limits.hard,
            lambda: self.slots.hung,
        )
        self.on_refused = partial(self.report.counters.count, "refused")
        self.self_test = SelfTest(
            self.condition, partial(canary.prove, self.app, self.pool, self.hostname), self._round_at_once
        )
        self.stopping = Stop(self.condition, self.gate, self.report.notify_stopping, self._hurry)

    def start(self) -> None:
        """Run the worker's loop until it is stopped."""
        self.slots.free_greenlets()
        self.slots.watch_processes(self.report.counters.child_exited)
        self.stopping.take_signal()
        self.report.write(at_once=True)
        super().start()

    def stop(self) -> None:
        """Stop; what a stop by the signal has left to do is little."""
        self.stopping.begin()
        if self.condition.consuming:
            try:
                self.consumption.end()
            except (*self.connection_errors, *self.channel_errors) as error:
                logger.warning("Cannot tell the broker that this worker stops: %s", error)
        self.report.write(at_once=True)
        super().stop()

    def connect(self) -> Connection:
        """Connect for the tasks."""
        self.timers.connecting()
        return super().connect()

    def ensure_connected(self, conn: Connection) -> Connection:
        """Connect, waiting for a broker as long as it takes, with signs of life meanwhile."""
        if self.condition.connected:  # a connection beside that of the tasks, for control
            return super().ensure_connected(conn)
        wait_with_rounds(conn, self._round_without_broker, self._note_obstacle)
        return super().ensure_connected(conn)

    def connection_for_write(self, url: object = None, heartbeat: float | None = None) -> Connection:
        """Connect for the worker's events, the only thing that is published from here."""
        connection = self.app.connection_for_write(
            url=url, heartbeat=heartbeat, transport_options=UNCONFIRMED
        )
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Clean up after a lost connection, and remember why it was lost for the status."""
        self._note_obstacle(exc)
        self.report.connection_lost(exc)
        if self.connection is not None:
            suspect(self.connection)
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Drop what was received and not started: the broker delivers it again."""
        self.consumption.forget()
        self.report.connection_closed()
        self.slots.settle()
        with self.slots.keeping_running_tasks():
            super().on_close()

    def loop_args(self) -> tuple[Any, ...]:
        """Return the arguments of Celery's loop."""
        consumer, connection, *rest = super().loop_args()
        if not self.hub:
            connection = PollingConnection(connection, self.round, INTERVAL)
        return (consumer, connection, *rest)

    def on_ready(self) -> None:
        """Begin with control in the first round of the loop, after Celery's own last checks."""
        super().on_ready()
        self.timers.connected()
        self.condition.connected = True
        self.condition.obstacle = ""
        self.consumption.check_soon()
        self._hurry()
        if self.hub:
            self.call_soon(self._first_round)

    def _first_round(self) -> None:
        if not self._in_loop:
            # From within the loop, so that Celery keeps it over reconnections.
            self._in_loop = True
            self.timer.call_repeatedly(INTERVAL, self.round)
        self.round()

    def _hurry(self) -> None:
        self._next_round = 0.0

    def _round_at_once(self) -> None:
        self._hurry()
        if self.hub:
            self.hub.call_soon(self.round)

    def round(self) -> None:
        """Do what is to be done now and then, if its time has come."""
        now = time.monotonic()
        if now < self._next_round or not self.condition.connected:
            return
        self._next_round = now + INTERVAL * 0.9
        try:
            self._control()
        except self.connection_errors:
            raise
        except self.channel_errors as error:
            if self.condition.ready:
                # A worker that consumed once has a right to its queues. If one is gone now, or a channel is
                # closed for another reason, then an operator is at work: it tries until it is served again.
                raise RecoverableConnectionError(str(error)) from error
            logger.critical("The broker does not let this worker consume: %s", error)
            self.controller.exitcode = EX_FAILURE
            state.should_stop = EX_FAILURE
            return
        self.report.notify()
        self.report.write()

    def _control(self) -> None:
        self._obey()
        condition = self.condition
        if not (condition.proved or condition.stopping) and (failure := self.self_test.check()):
            self.report.write(at_once=True)
            give_up(self.pool, failure)
        if condition.may_consume and not condition.consuming:
            self.consumption.begin()
            self.slots.fit_gate()
        elif condition.consuming and not condition.may_consume:
            self.consumption.end()
        elif not condition.consuming:
            self.consumption.give_back()
        else:
            self.consumption.check()
        if condition.stopping or self.slots.worn:
            self.stopping.finish()

    def _obey(self) -> None:
        orders, condition = self.instance.orders(), self.condition
        if orders.paused != condition.paused:
            condition.paused = orders.paused
            logger.warning("This worker is %s", "paused" if orders.paused else "no longer paused")
        if self.slots.obey(orders) and condition.consuming and condition.slots > 0:
            self.consumption.end()  # with another number it begins anew, in the same round
        self.revocations.obey(self.gate.running)
        if self._in_loop:  # before, Celery would take a process that ends for one that could not start
            self.slots.fit_pool()

    def _note_obstacle(self, error: Exception) -> None:
        self.condition.obstacle = str(error)

    def _round_without_broker(self) -> None:
        self.report.notify_waiting()
        self._obey()
        self.report.write()
        self.stopping.finish_without_broker()

    def _start_task(self, request: Request) -> object:
        self.revocations.mark(request)
        self.limits.apply(request)
        job = request.execute_using_pool(self.pool)
        try:
            self.report.task_started(request)
        except Exception:  # the pool has the task, which would become a dead letter beside its own end
            logger.exception("The start of a task was not counted")
        return job

    def _task_broken(self, request: Request, error: Exception, again: bool) -> None:
        self.slots.forget(request)
        self.refuse_task(request, error, again=again)
