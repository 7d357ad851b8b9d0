"""Whatever a task raises ends this task and no other: what Celery's execution pools leave out of that."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import concurrency
from celery.concurrency.base import BasePool
from celery.exceptions import WorkerLostError

from celery_fleet.errors import TaskMemoryError

logger = logging.getLogger(__name__)

# Celery's own pools of these names take no notice of limits.
_POOLS = {
    "threads": "celery_fleet.worker.threads:TaskPool",
    "gevent": "celery_fleet.worker.greenlets:TaskPool",
}

# What ends a process.
_EXITS = (SystemExit, KeyboardInterrupt)


def register() -> None:
    """Let Celery's names of execution pools mean those of the fleet in this process."""
    concurrency.ALIASES.update(_POOLS)


def contain(pool: BasePool) -> None:
    """Make a pool report the end of every task.

    Threads and greenlets report nothing of a task that raises `SystemExit`, and nothing where Celery itself
    fails behind the task, e.g. when its result can't be stored: its slot and its message would be held for
    ever. Processes report both.

    Args:
        pool: The pool, before any task is given to it.
    """
    if pool.uses_semaphore:
        return
    apply_async = pool.apply_async

    def contained(
        target: Callable[..., object],
        args: Any = None,  # noqa: ANN401 - as Celery passes them
        kwargs: Any = None,  # noqa: ANN401
        *,
        callback: Callable[..., object],
        error_callback: Callable[..., object] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> object:
        def ended(result: object) -> None:
            try:
                if isinstance(result, ExceptionInfo) and error_callback is not None:
                    error_callback(result)
                else:
                    callback(result)
            except Exception:  # the application's signal handlers and result backend are in it
                logger.exception("The end of a task cannot be told")

        return apply_async(_reporting(target), args, kwargs=kwargs, callback=ended, **options)

    pool.apply_async = contained


def _reporting(target: Callable[..., object]) -> Callable[..., object]:
    def run(*args: object, **kwargs: object) -> object:
        try:
            return target(*args, **kwargs)
        except _EXITS as error:
            # In a process of its own the task would be lost with it.
            try:
                raise WorkerLostError(repr(error)) from error
            except WorkerLostError:
                return ExceptionInfo()
        except BaseException as error:  # whatever a task or a library raises
            if type(error).__module__.partition(".")[0] in ("gevent", "greenlet"):
                raise  # the pool's own way to end a greenlet
            return ExceptionInfo()

    return run


def bearable(failure: ExceptionInfo) -> ExceptionInfo:
    """Return a task's failure without what Celery takes for its own.

    It ends the worker when a task raises `MemoryError`, so one task with too large an array would end all
    others, and again with each of its deliveries.

    Args:
        failure: What a task raised.

    Returns:
        The same, or one with `TaskMemoryError`.
    """
    error = cause_of(failure)
    if not isinstance(error, MemoryError):
        return failure
    replaced = copy.copy(failure)
    replaced.exception = TaskMemoryError(f"{type(error).__name__}: {error}")
    return replaced


def is_lost(failure: ExceptionInfo) -> bool:
    """Return whether a task was lost with its process, rather than failed."""
    return isinstance(cause_of(failure), (WorkerLostError, *_EXITS))


def cause_of(failure: ExceptionInfo) -> BaseException:
    """Return the exception of a failure, without what carries its traceback between processes."""
    error: BaseException = failure.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error
