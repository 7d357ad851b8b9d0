"""An application whose scheduler class keeps its schedule in a database, on two hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection
from support.beats import QUEUE, Beat, beat_file, taken
from support.postgres import query, temporary_postgres
from support.vhost import INTEGRATION, START, Vhost, temporary_vhost, wait_for

# An hourly one that is long overdue, as the administration would add it.
ADD_ROW = """
WITH hourly AS (
  INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'hours') RETURNING id
), added AS (
  INSERT INTO django_celery_beat_periodictask
    (name, task, interval_id, queue, args, kwargs, headers, description,
     enabled, one_off, total_run_count, last_run_at, date_changed)
  SELECT 'row', 'shop.row', id, %s, '[7]', '{}', '{}', '', true, false, 0, '2020-01-01', now() FROM hourly
)
UPDATE django_celery_beat_periodictasks SET last_update = now()
"""
ROWS = "SELECT name, last_run_at, total_run_count FROM django_celery_beat_periodictask"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Path]:
    """The application's database, migrated."""
    with temporary_postgres() as directory:
        environment = {
            **os.environ,
            "PYTHONPATH": str(INTEGRATION),
            "DJANGO_SETTINGS_MODULE": "django_site.settings",
            "TEST_POSTGRES": str(directory),
        }
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(command, env=environment, check=True)
        yield directory


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, which would take what the test counts."""
    with temporary_vhost(tmp_path_factory.mktemp("d")) as vhost:
        yield vhost


def test_django_s_scheduler_runs_under_the_fleet_s_lock(vhost: Vhost, postgres: Path) -> None:
    tick = {"task": "shop.model", "every": 1, "queue": QUEUE, "expires": 60}
    path = beat_file(vhost, "django", model=tick)
    beats = [
        Beat(vhost, f"beat{number}", path, "django_site.celery:app", TEST_POSTGRES=str(postgres))
        for number in (1, 2)
    ]
    sent: list[tuple[str, float]] = []
    begun = time.time()
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()

        def collect(**more: int) -> None:
            """Take what is sent until each of these was sent so many times more."""
            begin = len(sent)

            def enough() -> bool:
                sent.extend(taken(channel))
                new = [name for name, _ in sent[begin:]]
                return all(new.count(name) >= count for name, count in more.items())

            try:
                wait_for(enough, 60, f"{more} more runs")
            except AssertionError as error:
                told = [(beat.state, beat.log[-2000:]) for beat in beats]
                raise AssertionError(f"{error}; sent {sent}; {told}") from error

        try:
            wait_for(lambda: {beat.state["role"] for beat in beats} == {"active", "standby"}, START, "roles")
            active, other = sorted(beats, key=lambda beat: beat.state["role"])
            collect(own=2, model=2)
            query(postgres, ADD_ROW, QUEUE)
            collect(row=1)
            # Those that come after it say that it was written down.
            collect(own=1, model=1)
            assert active.state["source"] == (
                "1 of fleet_schedule, 1 of beat_schedule,"
                " those of django_celery_beat.schedulers:DatabaseScheduler"
            )
            active.process.kill()
            other.awaits("active", 60)
            collect(own=2, model=2)
            other.process.send_signal(signal.SIGTERM)
            assert other.process.wait(60) == 0
        finally:
            for beat in beats:
                beat.kill()
        sent += taken(channel)
    assert [name for name, _ in sent].count("row") == 1, f"the next one knows that it ran: {sent}"
    rows = {name: (last, count) for name, last, count in query(postgres, ROWS)}
    assert {"own", "model", "row", "celery.backend_cleanup"} <= rows.keys()
    for name in ("own", "model", "row"):
        runs = [at for each, at in sent if each == name]
        # Each may have been ended between sending and writing it down, which the notes make up for.
        assert len(runs) - 2 <= rows[name][1] <= len(runs), f"{name} is written down: {rows}"
        assert rows[name][0].timestamp() > begun, f"{name} is written down: {rows}"
    assert query(
        postgres, "SELECT expire_seconds FROM django_celery_beat_periodictask WHERE name = 'model'"
    ) == [(60,)]
