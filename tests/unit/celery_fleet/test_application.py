"""What an application asks for and the fleet does not have is said at once, before it serves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from celery_fleet.__main__ import main
from celery_fleet.fleet import Fleet
from celery_fleet.operator.application import Survey, survey

App = Callable[..., Celery]
SHORT, LONG = "io_api_calls", "memory_aggregations"  # hard limits of 300 and 7200 s


def work() -> None:
    """Only its attributes matter here."""


def with_tasks(app: Celery, **tasks: dict[str, Any]) -> Celery:
    for name, options in tasks.items():
        app.task(work, name=f"shop.{name}", shared=False, **options)
    app.finalize()
    return app


def test_a_sound_application_has_no_fault(make_app: App, fleet: Fleet) -> None:
    app = make_app(task_routes={"shop.b*": {"queue": SHORT}, "shop.c": LONG})
    tasks = {"a": {}, "b": {}, "c": {"time_limit": 7200}, "d": {"queue": LONG}, "e": {"soft_time_limit": 10}}
    assert survey(with_tasks(app, **tasks), fleet) == Survey(
        ("shop.a", "shop.b", "shop.c", "shop.d", "shop.e")
    )


def test_every_queue_that_no_pool_has_is_named_with_its_places_and_the_nearest(
    make_app: App, fleet: Fleet
) -> None:
    def decide(name: str, *_: object, **__: object) -> dict[str, str] | None:
        return {"queue": "decided"} if name == "shop.asked" else None

    app = make_app(
        task_routes=[
            decide,
            {"shop.mail*": {"queue": "io_email_send"}, "old.*": "default"},
            [("old.api", {"exchange": "old", "routing_key": "old.api"})],
        ],
        beat_schedule={"tidy": {"task": "shop.tidy", "schedule": 5, "options": {"queue": "default"}}},
    )
    tasks = {"sync": {"queue": "default"}, "own": {"queue": Queue("mine")}, "asked": {}, "tidy": {}}
    faults = survey(with_tasks(app, **tasks), fleet).faults
    expected = {
        "default, which task shop.sync, task_routes old.*, beat_schedule tidy names": "general_background",
        "queue mine, which task shop.own names": "general_background",
        "queue decided, which task shop.asked names": "general_background",
        "queue io_email_send, which task_routes shop.mail* names": "io_email_sending",
        "queue exchange old, routing key old.api, which task_routes old.api names": "general_background",
    }
    assert len(faults) == len(expected)
    for places, near in expected.items():
        (fault,) = [fault for fault in faults if places in fault]
        assert fault.endswith(f": {near}}}}}")


def test_an_alias_is_a_queue_of_the_fleet(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["routing"]["aliases"] = {"default": SHORT}
    fleet = write()
    app = with_tasks(make_app(task_routes={"old.*": "default"}), sync={"queue": "default", "time_limit": 301})
    assert survey(app, fleet, clamps=True).faults == ()
    (fault,) = survey(app, fleet).faults
    assert "task shop.sync (time_limit 301; pool io: 300 s)" in fault


def test_limits_that_their_pool_does_not_grant_are_refused_or_warned_of(make_app: App, fleet: Fleet) -> None:
    app = with_tasks(
        make_app(
            task_annotations={"shop.c": {"time_limit": 400}},
            task_routes={"shop.d": {"queue": SHORT, "soft_time_limit": 300}},
            # The fleet's pools replace it in every worker.
            task_time_limit=100_000,
        ),
        a={"queue": SHORT, "time_limit": 301, "soft_time_limit": 100},
        b={"queue": LONG, "time_limit": 7200, "soft_time_limit": 7100},
        c={"queue": SHORT},
        d={},
    )
    (fault,) = survey(app, fleet).faults
    for part in (
        "task shop.a (time_limit 301; pool io: 300 s)",
        "task shop.c (time_limit 400; pool io: 300 s)",
        "task shop.d (soft_time_limit 300; pool io: 300 s)",
        "fleet_app.limits_above_pool: clamp",
    ):
        assert part in fault
    assert "shop.b" not in fault
    found = survey(app, fleet, clamps=True)
    assert found.faults == ()
    assert "task shop.a (time_limit 301" in found.warnings[0]


def test_an_application_that_was_never_configured_is_told_so_in_one_sentence(fleet: Fleet) -> None:
    (fault,) = survey(with_tasks(Celery("plain", set_as_current=False), a={"queue": "gone"}), fleet).faults
    assert "must call celery_fleet.configure(app)" in fault


def test_the_command_answers_a_person_and_the_build(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "surveyed.py").write_text(
        "import celery, celery_fleet\n"
        "app = celery.Celery('surveyed', set_as_current=False)\n"
        "celery_fleet.configure(app)\n"
        "def work(): pass\n"
        "app.task(work, name='shop.sync', queue='default')\n"
        "app.task(work, name='shop.long', queue='io_api_calls', time_limit=900)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["check", "surveyed:app", "--clamp"]) == 3
    out = capsys.readouterr().out
    assert out.startswith("2 tasks: shop.long, shop.sync\nNo pool has the queue default")
    assert "Warning: Workers clamp limits" in out
    assert main(["check", "surveyed:app", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["tasks"] == ["shop.long", "shop.sync"]
    assert len(answer["faults"]) == 2


def test_a_program_that_starts_workers_must_be_there(make_app: App, fleet: Fleet, tmp_path: Path) -> None:
    program = tmp_path / "run"
    program.touch(mode=0o755)
    prefixes = {"cpu": ("nobody-has-it",), "io": (str(program), "-x"), "memory": ("python",)}
    pools = {name: replace(pool, command_prefix=prefixes.get(name, ())) for name, pool in fleet.pools.items()}
    (fault,) = survey(with_tasks(make_app(), a={}), replace(fleet, pools=pools)).faults
    assert "nobody-has-it" in fault
    assert "cpu" in fault


def test_queues_of_the_applications_own_settings_are_told(
    make_app: App, contents: dict[str, Any], write: Callable[[], Fleet]
) -> None:
    contents["routing"]["aliases"] = {"default": LONG}
    fleet = write()
    app = make_app(task_queues=[Queue("mail"), Queue("default"), Queue(SHORT), Queue("bulk")])
    found = survey(with_tasks(app, a={}), fleet)
    assert found.faults == ()
    (warning,) = found.warnings
    assert "no queue bulk, mail of the application's task_queues" in warning
