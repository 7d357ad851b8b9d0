"""An application with a task that does nothing, whose worker looks at the clock.

After each block of tasks it writes a line: the processor time of its main process, in seconds, and how much
of it was in what is looked at.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.events.dispatcher import EventDispatcher

import celery_fleet
from celery_fleet.worker.counters import Counters
from celery_fleet.worker.report import Report

LOOKED_AT = {
    "counters": [(Counters, name) for name in ("started", "ended", "passed")],
    "events": [(EventDispatcher, name) for name in ("send", "flush")],
}

app = Celery("bench")
app.conf.update(task_ignore_result=True)
celery_fleet.configure(app)


def nothing() -> None:
    """Do nothing."""


app.task(nothing, name="bench.nothing")


class _Clock:
    """Takes the time of calls, and writes it after each block of tasks."""

    def __init__(self, block: int, ledger: Path) -> None:
        self._block, self._ledger = block, ledger
        self._ended, self._within = 0, 0.0
        # Seconds that looking at the clock twice takes of what it shows.
        looks = [-time.thread_time() + time.thread_time() for _ in range(1000)]
        self._own = statistics.median(looks)

    def around(self, kind: type, name: str) -> None:
        """Take the time of each call of a method."""
        method: Callable[..., object] = getattr(kind, name)

        def timed(*arguments: object, **named: object) -> object:
            begin = time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                self._within += time.thread_time() - begin - self._own

        setattr(kind, name, timed)

    def after_each_task(self) -> None:
        """Count the tasks that have ended."""
        ended: Callable[..., object] = Report.task_ended

        def counted(*arguments: Any) -> None:  # noqa: ANN401 - they are the method's own
            ended(*arguments)
            self._ended += 1
            if self._ended % self._block == 0:
                with self._ledger.open("a", encoding="utf-8") as ledger:
                    ledger.write(f"{time.process_time()} {self._within}\n")

        setattr(Report, "task_ended", counted)  # noqa: B010 - a type checker takes it for a mistake


if "BENCH_OF" in os.environ:
    _clock = _Clock(int(os.environ["BENCH_BLOCK"]), Path(os.environ["BENCH_LEDGER"]))
    for _kind, _name in LOOKED_AT[os.environ["BENCH_OF"]]:
        _clock.around(_kind, _name)
    _clock.after_each_task()
