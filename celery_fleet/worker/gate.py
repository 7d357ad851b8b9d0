"""The way from the broker to the execution pool: no more tasks at once than the worker has slots."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError
from celery.utils.serialization import UnpickleableExceptionWrapper
from celery.worker.request import Request

from celery_fleet.worker.execution import bearable, cause_of, is_lost
from celery_fleet.worker.intake import BROKEN

logger = logging.getLogger(__name__)

# Of a request, those that end it: by a result, an exception or a lost process, a limit.
_ENDINGS = ("on_success", "on_failure", "on_timeout")


@dataclass(frozen=True)
class Ending:
    """How a task ended.

    Attributes:
        state: As a person calls it.
        runtime: Seconds; 0 of one that was revoked, or had expired, before it started.
        reason: Why it failed or was rejected: `exception`, `soft_time_limit`, `time_limit`, `lost` with its
            process, or `rejected`.
        exception: The class of what it raised then.
    """

    state: str
    runtime: float
    reason: str = ""
    exception: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended by an exception that nobody foresaw, a limit, or with its process."""
        return self.state == "FAILURE"

    @property
    def lost(self) -> bool:
        """Whether its process was lost."""
        return self.reason == "lost"


class Gate:
    """Hands requests to the execution pool as slots become free, and can give the others back.

    Celery hands everything that it receives to threads and greenlets at once, where it can't be had
    back and where it blocks the loop; and it forgets what runs when the connection is lost. All methods may
    be called from any thread.

    Args:
        start: Gives a request to the pool; raises `TaskRevokedError` when it must not run.
        ended: Is told of each end, before it is acknowledged.
        broken: Is told of each request that cannot be given to the pool or whose end cannot be recorded, why,
            and whether it should run again.
    """

    def __init__(
        self,
        start: Callable[[Request], object],
        ended: Callable[[Request, Ending], None] | None = None,
        broken: Callable[[Request, Exception, bool], None] | None = None,
    ) -> None:
        self._start = start
        self._ended = ended
        self._broken = broken
        self._lock = threading.RLock()
        self._waiting: deque[Request] = deque()
        self._running: set[Request] = set()
        self._told: set[Request] = set()
        self._slots = 0
        self._open = False

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    @property
    def running(self) -> list[Request]:
        """The requests that were given to the pool and have not ended."""
        with self._lock:
            return list(self._running)

    @property
    def active(self) -> int:
        """How many requests were given to the pool and have not ended."""
        return len(self._running)

    def submit(self, request: Request) -> None:
        """Accept a request, and start it as soon as a slot is free and the gate open."""
        request.received = time.monotonic()
        with self._lock:
            self._waiting.append(request)
        self._fill()

    def set(self, *, slots: int, is_open: bool) -> None:
        """Set the number of slots and whether anything is started at all; what runs goes on."""
        with self._lock:
            self._slots, self._open = slots, is_open
        self._fill()

    def withdraw(self) -> list[Request]:
        """Remove and return the requests that wait."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        return waiting

    def release(self, request: Request) -> None:
        """Remove a request that has ended, or never will; its slot is free."""
        with self._lock:
            if request not in self._running:
                return
            self._running.remove(request)
            self._told.discard(request)
        for name in _ENDINGS:
            request.__dict__.pop(name, None)  # it refers to the request, which would outlive its end
        self._fill()

    def _fill(self) -> None:
        while True:
            with self._lock:
                if not (self._open and self._waiting and len(self._running) < self._slots):
                    return
                request = self._waiting.popleft()
                self._running.add(request)
            for name in _ENDINGS:
                setattr(request, name, self._ending(request, getattr(request, name)))
            try:
                self._start(request)
            except TaskRevokedError:
                self._tell(request, lambda: Ending("REVOKED", 0.0))
                self.release(request)
            except BROKEN as error:
                # It may be another task's than the one that has just come: neither may fail for it.
                self.release(request)
                if self._broken is None:
                    raise
                self._broken(request, error, False)
            except BaseException:
                self.release(request)
                raise

    def _ending(self, request: Request, handler: Callable[..., object]) -> Callable[..., object]:
        def ended(*args: Any, **options: Any) -> object:  # noqa: ANN401 - as Celery passes them
            soft = options.get("soft", args[0] if handler.__name__ == "on_timeout" and args else False)
            if soft:  # it may still end well
                return handler(*args, **options)
            if handler.__name__ == "on_failure":
                args = (bearable(args[0]), *args[1:])
            self._tell(request, lambda: _how(request, handler.__name__, args))
            try:
                return handler(*args, **options)
            except Exception as error:  # the result backend's, or a signal handler's of the application
                if self._broken is None or request.acknowledged:
                    raise
                lost = handler.__name__ == "on_failure" and is_lost(args[0])
                self._broken(request, error, lost)
                return None
            finally:
                self.release(request)

        return ended

    def _tell(self, request: Request, how: Callable[[], Ending]) -> None:
        """Tell of an end once: Celery's handlers call each other."""
        with self._lock:
            if request in self._told or request not in self._running:
                return
            self._told.add(request)
        if self._ended is not None:
            try:
                self._ended(request, how())
            except Exception:  # what is told of an end may not keep it from being settled
                logger.exception("The end of a task was not counted")


def _how(request: Request, handler: str, args: tuple[Any, ...]) -> Ending:
    # By a clock that may be set.
    runtime = max(0.0, time.time() - request.time_start) if request.time_start else 0.0
    if request._already_revoked:
        return Ending("REVOKED", runtime)
    if handler == "on_timeout":
        return Ending("FAILURE", runtime, "time_limit", TimeLimitExceeded.__name__)
    if handler == "on_success":
        failed, result, measured = args[0]
        runtime = runtime if measured is None else measured  # of a failure Celery tells none
        if not failed:
            return Ending("SUCCESS", runtime)
    else:
        result = args[0]
    error = cause_of(result)
    name = type(error).__name__
    if isinstance(error, UnpickleableExceptionWrapper):
        name = str(error.exc_cls_name)
    if isinstance(error, Terminated) and not request._already_cancelled:
        return Ending("REVOKED", runtime)
    if isinstance(error, Retry):
        return Ending("RETRY", runtime)
    if isinstance(error, Reject):
        return Ending("REJECTED", runtime, "rejected", name)
    if isinstance(error, Ignore):
        return Ending("IGNORED", runtime)
    if isinstance(error, SoftTimeLimitExceeded):
        return Ending("FAILURE", runtime, "soft_time_limit", name)
    return Ending("FAILURE", runtime, "lost" if is_lost(result) else "exception", name)
