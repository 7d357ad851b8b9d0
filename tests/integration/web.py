"""A web application that publishes, also while it is imported: before a server forks its processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from application import app


def publish(label: str) -> None:
    """Publish a task that nobody runs."""
    app.send_task("web", (label,), queue=os.environ["TEST_QUEUE"])


publish("import")


def web(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    """Publish one task a request, and answer with the number of the process."""
    publish(environ["PATH_INFO"].strip("/"))
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
