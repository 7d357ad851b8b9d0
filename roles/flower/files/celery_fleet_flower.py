"""The Celery application that Flower looks through: it hears workers, and by default sends them nothing."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flower import events, inspector

import celery_fleet
from celery_fleet.fleet_file import load
from celery_fleet.publishing.unconfirmed import FleetControl

# What of a task may hold data of the site.
DATA = ("args", "kwargs", "result")
HIDDEN = "(hidden)"
SHOWN = os.environ.get("CELERY_FLEET_FLOWER_ARGUMENTS") == "1"


def hidden(value: Any) -> Any:  # noqa: ANN401 - an event, or what a worker answers
    """Return a value without the arguments and results of tasks, however deep in it."""
    if isinstance(value, dict):
        return {key: HIDDEN if key in DATA else hidden(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    return value


class DiscreetState(events.EventsState):
    """Keeps neither arguments nor results of tasks. Flower's `format_task` would let them be searched."""

    def event(self, event: dict[str, Any]) -> None:
        """Take in an event."""
        super().event(hidden(event))


class SilentControl(FleetControl):
    """Sends no command: without the right to, the broker would end the connection that hears events."""

    def broadcast(self, *_arguments: object, **_options: object) -> None:
        """Send nothing, and hear no answer."""


class DiscreetControl(FleetControl):
    """Hides what the workers' answers say of tasks' data."""

    def broadcast(self, command: str, *args: object, **options: object) -> object:
        """Send a command to workers."""
        return hidden(super().broadcast(command, *args, **options))


app = Celery("flower")
celery_fleet.configure(app, required=True)
if not load().broker.client_control:
    app.control_cls = SilentControl
    # Else each page would wait for answers that do not come.
    inspector.Inspector.methods = ()
elif not SHOWN:
    app.control_cls = DiscreetControl
app.__dict__.pop("control", None)
if not SHOWN:
    # Flower makes its own by this name, and has no setting for it.
    events.EventsState = DiscreetState
