"""An execution pool of greenlets that keeps soft limits, too.

Both limits are raised in a greenlet that waits. One that computes gives way to nobody: then no limit comes,
the whole worker stands still, and systemd's watchdog restarts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.concurrency import gevent as celery_gevent
from celery.exceptions import SoftTimeLimitExceeded
from gevent import Timeout


class TaskPool(celery_gevent.TaskPool):
    """Celery's pool of greenlets with soft limits."""

    def on_apply(
        self,
        target: Callable[..., object],
        *args: Any,  # noqa: ANN401 - Celery's
        soft_timeout: float | None = None,
        timeout_callback: Callable[[bool, float], object] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> object:
        """Run a task in a greenlet."""
        if soft_timeout and timeout_callback:
            target = _limited(target, soft_timeout, timeout_callback)
        return super().on_apply(target, *args, timeout_callback=timeout_callback, **options)


def _limited(
    target: Callable[..., object], limit: float, timed_out: Callable[[bool, float], object]
) -> Callable[..., object]:
    def run(*args: object, **kwargs: object) -> object:
        begun = time.monotonic()
        try:
            with Timeout(limit, SoftTimeLimitExceeded):
                return target(*args, **kwargs)
        finally:
            if time.monotonic() - begun >= limit:
                timed_out(True, limit)

    return run
