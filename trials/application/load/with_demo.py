"""The demo application with the load's tasks beside its own, for a fleet that serves both."""

from demo.app import app

import load.tasks  # noqa: F401  its tasks are every application's

__all__ = ["app"]
