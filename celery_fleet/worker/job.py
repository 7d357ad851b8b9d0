"""A task in a thread, in which its limits are raised and after which nothing is."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import partial

from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded, Terminated


class TaskAbandonedError(BaseException):
    """Raised in the thread of a task that has ended for all others; it should end, too."""


# What a job ends by that nobody has abandoned. The job itself would be a cycle, which keeps its arguments.
_OWN_THREAD = object()
_RAISED = (SoftTimeLimitExceeded, TaskAbandonedError)


class Job:
    """A task that was given to the pool.

    Args:
        abandon: Ends it without its thread, and tells of that.
        target: Runs the task, and returns how it ended.
        callback: Called with what the target returned.
        accepted: Called with a process and a moment when it begins.
        timed_out: Called with whether the limit is a soft one, and the limit.
        timeout, soft_timeout: Its limits (seconds).
    """

    def __init__(
        self,
        abandon: Callable[[Job, Callable[[], object]], None],
        target: Callable[[], object],
        callback: Callable[[object], object],
        accepted: Callable[[int, float], object] | None,
        timed_out: Callable[[bool, float], object] | None,
        timeout: float | None,
        soft_timeout: float | None,
    ) -> None:
        self._abandon = abandon
        self._target = target
        self.callback = callback
        self.accepted = accepted
        self.timed_out = timed_out or (lambda _soft, _limit: None)
        self.timeout, self.soft_timeout = timeout, soft_timeout
        self.begun: float | None = None
        self.next_attempt = 0.0
        self.hung = False
        self._thread = 0
        self._ended_by: dict[str, object] = {}
        self._left = self._raising = False
        self._interrupting = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return bool(self._ended_by)

    @property
    def abandoned(self) -> bool:
        """Whether it has ended, or will, without its thread."""
        return self._ended_by.get("end", _OWN_THREAD) is not _OWN_THREAD

    def ends(self, by: object) -> bool:
        """Return whether it ends by this: whatever says so first."""
        return self._ended_by.setdefault("end", by) is by

    def run(self) -> object:
        """Run the task in this thread, and return when nothing can be raised in it any more.

        Python raises where a function begins or has returned, and where a loop goes round. So nothing comes
        between the end of the task and the mark that it has left its thread. After that one error may be due,
        and one more be on its way.

        Returns:
            What the target returned, or how it was interrupted.
        """
        outcome: list[object] = []
        try:
            if not self.ended:  # nobody has terminated it before it began
                self._thread, self.begun = threading.get_ident(), time.monotonic()
                outcome.append(self._target())
        except _RAISED:
            pass
        self._left = True
        try:
            try:
                self._settle()
            except _RAISED:
                self._settle()
        except _RAISED:
            self._settle()
        return outcome[0] if outcome else _interrupted()

    def _settle(self) -> None:
        """End, unless it was ended; then await an error that is on its way, and take back one that is due.

        It takes no lock, which it could keep if it were interrupted.
        """
        self.ends(_OWN_THREAD)
        while self._raising:
            time.sleep(0)
        _raise_in(threading.get_ident(), None)

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise an error in the thread of the task, unless that has left it."""
        with self._interrupting:
            self._raising = True
            if self.begun is not None and not self._left:
                _raise_in(self._thread, error)
            self._raising = False

    def terminate(self, signal: int) -> None:
        """End the task at once, as an operator wants it.

        Args:
            signal: What a process would be sent.
        """
        try:
            raise Terminated(signal)
        except Terminated:
            self._abandon(self, partial(self.callback, ExceptionInfo()))


def _interrupted() -> ExceptionInfo:
    """Return how a task ended that a limit met outside of what Celery guards."""
    try:
        raise SoftTimeLimitExceeded
    except SoftTimeLimitExceeded:
        return ExceptionInfo()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an error in a thread as soon as it executes Python; None takes back what it has not met."""
    value = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value)
