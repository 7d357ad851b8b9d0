"""Several schedulers at one broker: one sends, and what it sent is known to the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fleet.model.names import BEAT
from kombu import Connection
from support.vhost import Vhost, temporary_vhost, wait_for

from celery_fleet.scheduler.lock import RUNS_HEADER

QUEUE = "general_scheduled"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, which would take what the test counts."""
    with temporary_vhost(tmp_path_factory.mktemp("b")) as vhost:
        yield vhost


class Beat:
    """A scheduler as its unit starts it."""

    def __init__(self, vhost: Vhost, name: str, beat_file: Path) -> None:
        self.directory = vhost.directory / name
        self.directory.mkdir()
        environment = vhost.environment(
            vhost.fleet_file(), CELERY_FLEET_BEAT_FILE=str(beat_file), RUNTIME_DIRECTORY=str(self.directory)
        )
        command = [sys.executable, "-m", "celery", "--app", "application", "beat", "--loglevel", "INFO"]
        command += ["--scheduler", "celery_fleet.scheduler.scheduler:FleetScheduler"]
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=vhost.directory, stdout=log, stderr=log
            )

    @property
    def state(self) -> dict[str, Any]:
        path = self.directory / "state.json"
        return json.loads(path.read_text()) if path.exists() else {"role": "none"}

    def awaits(self, role: str, seconds: float) -> None:
        log = self.directory / "log"
        wait_for(lambda: self.state["role"] == role, seconds, f"{role}: {self.state}\n{log.read_text()}")


def _ticks(channel: Any) -> list[float]:
    """Take the times as of which the tasks in the queue were sent."""
    found = []
    while message := channel.basic_get(QUEUE, no_ack=True):
        assert "BCC" not in message.headers
        runs = json.loads(message.headers[RUNS_HEADER])
        found += [at for name, at in runs.items() if name == "tick"]
    return found


def test_one_sends_and_the_next_goes_on_where_it_stopped(vhost: Vhost) -> None:
    entries = {
        "tick": {"task": "nobody.runs.it", "every": 1, "queue": QUEUE},
        "late": {"task": "nobody.runs.it", "every": 3600},
    }
    login = {"user": vhost.user("beat"), "password_file": str(vhost.secrets / "beat")}
    beat_file = vhost.directory / "beat.json"
    beat_file.write_text(json.dumps({**login, "queue": BEAT, "schedule": entries}))
    beats: list[Beat] = []
    ticks: list[float] = []

    def start(name: str) -> Beat:
        beats.append(Beat(vhost, name, beat_file))
        return beats[-1]

    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()

        def collect(count: int, seconds: float) -> None:
            end = len(ticks) + count
            wait_for(lambda: ticks.extend(_ticks(channel)) or len(ticks) >= end, seconds, f"{count} ticks")

        try:
            first, second = start("beat1"), start("beat2")
            wait_for(
                lambda: {first.state["role"], second.state["role"]} == {"active", "standby"}, 30, "roles"
            )
            active, other = (first, second) if first.state["role"] == "active" else (second, first)
            collect(4, 20)
            # Killed: whoever takes over misses nothing that is longer than the taking over.
            active.process.kill()
            other.awaits("active", 30)
            collect(3, 20)
            # Frozen: the broker gives it up, and when it wakes it sends nothing.
            third = start("beat3")
            third.awaits("standby", 30)
            other.process.send_signal(signal.SIGSTOP)
            third.awaits("active", 60)
            collect(2, 20)
            other.process.send_signal(signal.SIGCONT)
            wait_for(lambda: other.state["role"] == "standby", 30, "standby again")
            collect(2, 20)
            # Stopped: the other goes on at once.
            third.process.send_signal(signal.SIGTERM)
            assert third.process.wait(20) == 0
            other.awaits("active", 10)
            collect(2, 20)
        finally:
            for beat in beats:
                if beat.process.poll() is None:
                    os.kill(beat.process.pid, signal.SIGKILL)
                    beat.process.wait()
        ticks += _ticks(channel)
    assert len(set(ticks)) == len(ticks), "no tick twice"
    steps = [round(after - before, 3) for before, after in pairwise(ticks)]
    assert all(step == round(step) >= 1 for step in steps), f"on the same grid, in order: {steps}"
    # Only the frozen scheduler's silence is longer than a moment.
    assert sum(step > 5 for step in steps) <= 1 and max(steps) < 60, steps
    assert sum(step > 1 for step in steps) <= 3, steps
