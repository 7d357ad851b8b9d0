"""An application on a host that may have no fleet: it keeps what it has, unless somebody asks for a fleet."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from celery.app.control import Control
from celery.contrib.testing.worker import start_worker
from celery.signals import worker_process_init

import celery_fleet
from celery_fleet import files, fleet_file
from celery_fleet.fleet import Fleet

OWN = {
    "broker_url": "amqp://shop@localhost:5679//",
    "result_backend": "cache+memory://",
    "task_routes": {"shop.*": {"queue": "shop"}},
    "task_default_queue": "mine",
    "task_create_missing_queues": True,
    "worker_prefetch_multiplier": 7,
    "broker_transport_options": {"read_timeout": 9},
}


@pytest.fixture(autouse=True)
def no_fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fleet_file, "DEFAULT_PATH", str(tmp_path / "none" / "fleet.json"))
    monkeypatch.delenv("CELERY_FLEET_REQUIRED", raising=False)


def _app() -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(OWN)
    return app


@pytest.mark.parametrize("read", ["before", "after"])
def test_without_a_fleet_an_application_stays_as_it_is(read: str, caplog: pytest.LogCaptureFixture) -> None:
    app, plain = _app(), _app()
    if read == "before":
        assert app.conf.broker_url
    assert celery_fleet.configure(app) is False
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no fleet on this host" in caplog.text and "shop" in caplog.text
    assert dict(app.conf) == dict(plain.conf)
    assert type(app.amqp) is AMQP and type(app.control) is Control
    assert set(app.tasks) == set(plain.tasks)
    assert app.amqp.router.route({}, "shop.buy")["queue"].name == "shop"
    assert app.connection_for_write().as_uri() == "amqp://shop:**@localhost:5679//"


def test_the_broker_in_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://laptop")
    app = Celery("shop", set_as_current=False)
    celery_fleet.configure(app)
    assert os.environ["CELERY_BROKER_URL"] == "memory://laptop"
    assert app.connection_for_write().as_uri().startswith("memory://")


def test_tasks_run_eagerly_and_hints_do_not_matter() -> None:
    app = _app()
    app.conf.update(task_always_eager=True)
    celery_fleet.configure(app)

    @app.task(resource="io", shared=False)
    def double(number: int) -> int:
        return 2 * number

    assert double.apply_async((21,), headers=celery_fleet.hint("cpu")).get() == 42


@pytest.fixture
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a worker does to its process from the tests that follow in this one."""
    monkeypatch.setattr(worker_process_init, "receivers", [])
    for name in ("level", "handlers"):
        monkeypatch.setattr(logging.root, name, getattr(logging.root, name))


def test_a_worker_of_a_test_has_a_broker_in_memory(unchanged_process: None) -> None:
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    celery_fleet.configure(app)

    @app.task(resource="io", shared=False)
    def double(number: int) -> int:
        return 2 * number

    with start_worker(app, perform_ping_check=False, shutdown_timeout=60):
        assert double.apply_async((21,), headers=celery_fleet.hint("cpu")).get(timeout=60) == 42


@pytest.mark.parametrize(
    "asked",
    [
        {"CELERY_FLEET_REQUIRED": "1"},
        {"CELERY_FLEET_REQUIRED": "true"},
        {"CELERY_FLEET_POOL": "io"},
        {"CELERY_FLEET_FILE": "/nowhere/fleet.json"},
        {"CELERY_FLEET_FILE": os.devnull, "CELERY_FLEET_REQUIRED": "1"},
    ],
)
def test_who_asks_for_a_fleet_gets_one_or_an_error(
    asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(celery_fleet.FleetFileError):
        celery_fleet.configure(_app())


def test_so_does_the_application_itself() -> None:
    with pytest.raises(celery_fleet.FleetFileError, match="no such file"):
        celery_fleet.configure(_app(), required=True)


@pytest.mark.parametrize("value", ["", "0", "no", "False", "off"])
def test_a_variable_may_say_that_nobody_asks(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_FLEET_REQUIRED", value)
    assert not celery_fleet.configure(_app())


def test_a_host_of_a_fleet_may_be_told_that_it_is_none(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    app = _app()
    assert celery_fleet.configure(app)
    monkeypatch.setenv("CELERY_FLEET_FILE", os.devnull)
    assert not celery_fleet.configure(_app())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize("hidden", ["fleet.json", "none"])
def test_a_fleet_that_a_user_may_not_see_is_never_taken_for_none(tmp_path: Path, hidden: str) -> None:
    """The file's or the directory's rights may be in the way; a password's too, which other tests show."""
    directory = tmp_path / "none"
    directory.mkdir()
    (directory / "fleet.json").write_text("{}")
    (tmp_path / "none" / "fleet.json").chmod(0o600)
    directory.chmod(0o700 if hidden == "none" else 0o755)
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    code = (
        "import os, sys; sys.path[:0] = [sys.argv[1]]; import celery, celery_fleet; "
        "from celery_fleet import fleet_file; fleet_file.DEFAULT_PATH = sys.argv[2]; "
        "app = celery.Celery('shop'); os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        "celery_fleet.configure(app)"
    )
    root = str(Path(celery_fleet.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", code, root, str(directory / "fleet.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    for part in (
        "FleetFileError",
        "permission denied for user nobody",
        "fleet_client_users",
        files.CLIENTS,
    ):
        assert part in last
