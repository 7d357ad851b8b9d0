"""Schedulers as their units start them, and what they sent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fleet.model.names import BEAT

from celery_fleet.scheduler.lock import RUNS_HEADER
from support.odd_settings import ENVIRONMENT
from support.vhost import Vhost, wait_for

QUEUE = "general_scheduled"


class Beat:
    """A scheduler as its unit starts it."""

    def __init__(
        self, vhost: Vhost, name: str, beat_file: Path, app: str = "application", **environment: str
    ) -> None:
        self.directory = vhost.directory / name
        self.directory.mkdir()
        variables = vhost.environment(
            vhost.fleet_file(),
            CELERY_FLEET_BEAT_FILE=str(beat_file),
            RUNTIME_DIRECTORY=str(self.directory),
            STATE_DIRECTORY=str(self.directory),
            **ENVIRONMENT,
            **environment,
        )
        command = [sys.executable, "-m", "celery", "--app", app, "beat", "--loglevel", "INFO"]
        command += ["--scheduler", "celery_fleet.scheduler.scheduler:FleetScheduler"]
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=variables, cwd=vhost.directory, stdout=log, stderr=log
            )

    @property
    def state(self) -> dict[str, Any]:
        path = self.directory / "state.json"
        return json.loads(path.read_text()) if path.exists() else {"role": "none"}

    def awaits(self, role: str, seconds: float) -> None:
        try:
            wait_for(lambda: self.state["role"] == role, seconds, role)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.state}; {self.log[-3000:]}") from error

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def kill(self) -> None:
        """End it if it runs, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def beat_file(vhost: Vhost, name: str, **entries: dict[str, Any]) -> Path:
    """Write the scheduler's file with these entries of the model."""
    login = {"user": vhost.user("beat"), "password_file": str(vhost.secrets / "beat")}
    path = vhost.directory / f"{name}.json"
    path.write_text(json.dumps({**login, "queue": BEAT, "schedule": entries}))
    return path


def taken(channel: Any) -> list[tuple[str, float]]:
    """Take the entries in the queue, with the times as of which they were sent."""
    entries = []
    while message := channel.basic_get(QUEUE, no_ack=True):
        assert "BCC" not in message.headers
        entries += json.loads(message.headers[RUNS_HEADER]).items()
    return entries
