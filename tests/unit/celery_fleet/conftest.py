from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery._state
import pytest
from celery import Celery
from support.fleet_files import PASSWORD, document

import celery_fleet
from celery_fleet import fleet_file
from celery_fleet.fleet import Fleet


@pytest.fixture(autouse=True)
def no_fleet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [name for name in os.environ if name.startswith("CELERY_FLEET_")]
    for name in (*own, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_tasks_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget a test's tasks at its end: Celery registers them with every later application."""
    monkeypatch.setattr(celery._state, "_on_app_finalizers", set(celery._state._on_app_finalizers))


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, Any]:
    """The fleet file's contents; a test may change them before it writes them."""
    nodes = (("10.0.0.1", 5672), ("10.0.0.2", 5673))
    contents = document(secrets=str(tmp_path / "secrets"), nodes=nodes)
    (tmp_path / "secrets").mkdir()
    for login in (contents["broker"], contents["verify"], *contents["pools"].values()):
        Path(login["password_file"]).write_text(f"{PASSWORD}\n", encoding="utf-8")
    return contents


@pytest.fixture
def write(tmp_path: Path, contents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Fleet]:
    """Writes the contents as the process's fleet file, and reads them."""

    def write_and_load() -> Fleet:
        path = tmp_path / "fleet.json"
        path.write_text(json.dumps(contents), encoding="utf-8")
        monkeypatch.setenv("CELERY_FLEET_FILE", str(path))
        return fleet_file.load()

    return write_and_load


@pytest.fixture
def fleet(write: Callable[[], Fleet]) -> Fleet:
    return write()


@pytest.fixture
def make_app(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Celery]:
    """Makes an application that is a member of the fleet."""

    def make(pool: str | None = None, **settings: object) -> Celery:
        if pool is not None:
            monkeypatch.setenv("CELERY_FLEET_POOL", pool)
        app = Celery("test", set_as_current=False)
        app.conf.update(settings)
        celery_fleet.configure(app)
        return app

    return make
