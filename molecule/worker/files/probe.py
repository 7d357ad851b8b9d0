"""An application whose tasks leave a trace of when they ran."""

import time
from pathlib import Path

from celery import Celery

import celery_fleet

app = Celery("probe")
celery_fleet.configure(app)


def trace(path: str, held: bool) -> None:
    """Write a line to a file, and another one at the end.

    Args:
        path: The file; its directory must be there.
        held: Whether to go on until there is a file of this name with `.end`.
    """
    file, end = Path(path), Path(f"{path}.end")
    with file.open("a") as lines:
        lines.write("begin\n")
    while held and not end.exists():
        time.sleep(0.1)
    with file.open("a") as lines:
        lines.write("end\n")


app.task(trace, name="probe.trace")
