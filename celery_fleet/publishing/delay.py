"""Delays shorter than what the broker can count."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from celery import Celery
from celery.utils.time import maybe_make_aware

# Seconds. Celery cuts the time that is left to whole seconds, a moment after we look at it, and
# refuses what is then none.
SHORT = 1.5


def round_up_short_delays(app: Celery) -> None:
    """Allow an application to delay tasks by fractions of a second.

    Delays are counted by the broker in whole seconds. Celery raises ValueError for less than one,
    be it a `countdown` of 0.5, a retry's, or an `eta` that is almost there. A task may come later
    than its delay but not before it, so short ones are rounded up.

    Args:
        app: The Celery application.
    """
    send = app.send_task

    def send_task(
        name: str,
        args: object = None,
        kwargs: object = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        *rest: object,
        **options: object,
    ) -> object:
        remaining = _until(eta, app.now()) if isinstance(eta, datetime) else countdown
        if remaining is not None and 0 < remaining < SHORT:
            countdown, eta = math.ceil(remaining), None
        return send(name, args, kwargs, countdown, eta, *rest, **options)

    app.send_task = send_task


def _until(eta: datetime, now: datetime) -> float:
    """Return the seconds until a time. Without a zone it is UTC, as Celery has it."""
    left: timedelta = maybe_make_aware(eta).astimezone(UTC) - maybe_make_aware(now).astimezone(UTC)
    return left.total_seconds()
