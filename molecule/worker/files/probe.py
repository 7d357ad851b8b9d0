"""An application whose tasks leave a trace of when they ran."""

import time
from pathlib import Path

from celery import Celery

import celery_fleet

app = Celery("probe")
celery_fleet.configure(app)


def trace(path: str, seconds: float) -> None:
    """Write a line to a file, wait, and write another one.

    Args:
        path: The file; its directory must be there.
        seconds: How long to wait.
    """
    file = Path(path)
    with file.open("a") as lines:
        lines.write("begin\n")
    time.sleep(seconds)
    with file.open("a") as lines:
        lines.write("end\n")


app.task(trace, name="probe.trace")
