"""When a task was published: a header of each, by which workers tell how long it has waited."""

from __future__ import annotations

import time
from typing import Any

# Seconds since the epoch. The property `timestamp` has whole seconds only.
HEADER = "fleet_published"


def stamped(headers: Any) -> dict[str, Any]:  # noqa: ANN401 - as Celery passes them
    """Return a task's headers with the time of now, over the one of another task that they may be of.

    Args:
        headers: The headers; none if there are none.
    """
    return {**(headers or {}), HEADER: time.time()}
