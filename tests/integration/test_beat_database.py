"""An application whose scheduler class keeps its schedule in a database, on two hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from kombu import Connection
from support.beats import QUEUE, Beat, beat_file, taken
from support.postgres import query, temporary_postgres
from support.vhost import INTEGRATION, START, Vhost, temporary_vhost, wait_for

ADD_ROW = """
INSERT INTO django_celery_beat_periodictask
  (name, task, interval_id, queue, args, kwargs, headers, description,
   enabled, one_off, total_run_count, date_changed)
SELECT 'row', 'shop.row', interval_id, queue, '[7]', '{}', '{}', '', true, false, 0, now()
FROM django_celery_beat_periodictask WHERE name = 'own'
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
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()

        def collect(*names: str, seconds: float = 30) -> None:
            """Take what is sent until each of these was sent twice more."""
            begin = len(sent)

            def enough() -> bool:
                sent.extend(taken(channel))
                new = [name for name, _ in sent[begin:]]
                return all(new.count(name) >= 2 for name in names)

            try:
                wait_for(enough, seconds, f"two runs of {', '.join(names)}")
            except AssertionError as error:
                raise AssertionError(
                    f"{error}; {[(beat.state, beat.log[-2000:]) for beat in beats]}"
                ) from error

        try:
            wait_for(lambda: {beat.state["role"] for beat in beats} == {"active", "standby"}, START, "roles")
            active, other = sorted(beats, key=lambda beat: beat.state["role"])
            collect("own", "model")
            # Somebody adds one in the administration, which writes the time of the change beside it.
            query(
                postgres,
                ADD_ROW,
            )
            query(postgres, "UPDATE django_celery_beat_periodictasks SET last_update = now()")
            collect("own", "model", "row")
            assert active.state["source"] == (
                "1 of fleet_schedule, 1 of beat_schedule,"
                " those of django_celery_beat.schedulers:DatabaseScheduler"
            )
            active.process.kill()
            other.awaits("active", 30)
            collect("own", "model", "row")
            other.process.send_signal(signal.SIGTERM)
            assert other.process.wait(20) == 0
        finally:
            for beat in beats:
                beat.kill()
        sent += taken(channel)
    for name in ("own", "model", "row"):
        times = [at for each, at in sent if each == name]
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) > 0.9, f"{name} was sent twice: {gaps}"
    rows = {name: (last, count) for name, last, count in query(postgres, ROWS)}
    assert {"own", "model", "row", "celery.backend_cleanup"} <= rows.keys()
    for name in ("own", "model", "row"):
        runs = [at for each, at in sent if each == name]
        assert abs(rows[name][0].timestamp() - runs[-1]) < 1, "the last run is written down"
        # One that was killed before it wrote its last run down leaves it to the notes.
        assert len(runs) - 1 <= rows[name][1] <= len(runs)
    assert query(
        postgres, "SELECT expire_seconds FROM django_celery_beat_periodictask WHERE name = 'model'"
    ) == [(60,)]
