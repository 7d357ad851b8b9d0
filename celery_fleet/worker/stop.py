"""How a worker stops: it takes no more tasks, finishes what runs over the open connection, and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from celery_fleet.worker.gate import Gate
from celery_fleet.worker.phase import Condition


class Stop:
    """The way from the signal to the end.

    Args:
        condition: The worker's condition.
        gate: Where its tasks are.
        begun: Called once, from the worker's loop, when the stop begins.
        hurry: Called by the signal, so that the loop looks at once.
    """

    def __init__(
        self, condition: Condition, gate: Gate, begun: Callable[[], None], hurry: Callable[[], None]
    ) -> None:
        self._condition = condition
        self._gate = gate
        self._begun = begun
        self._hurry = hurry
        self._has_begun = False
        self._idle_rounds = 0
        self._celery_handler: Callable[[], object] | None = None

    def take_signal(self) -> None:
        """Handle the signal to stop before Celery does, which would close the connection first."""
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGTERM)
            if callable(handler):
                self._celery_handler = lambda: handler(signal.SIGTERM, None)
                signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        """Record that the worker has to stop; its loop does the rest."""
        self._condition.stopping = True
        self._hurry()

    def begin(self) -> None:
        """Begin to stop; what has begun goes on."""
        self._condition.stopping = True
        if not self._has_begun:
            self._has_begun = True
            self._begun()

    def finish(self) -> None:
        """End once nothing runs, a round later, when the last acknowledgement is on its way."""
        self.begin()
        self._idle_rounds = 0 if self._gate.running else self._idle_rounds + 1
        if self._idle_rounds > 1:
            self._end()

    def finish_without_broker(self) -> None:
        """Leave what runs to Celery's own stop: what a lost connection brought can't be acknowledged."""
        if self._condition.stopping:
            self.begin()
            self._end()

    def _end(self) -> None:
        handler, self._celery_handler = self._celery_handler, None
        if handler is not None:
            handler()
