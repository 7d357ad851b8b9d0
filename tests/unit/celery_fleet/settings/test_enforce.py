"""Applications with settings of their own: what stays, what gives way with a word, and what is refused."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS
from celery.app.utils import find_app
from kombu import Exchange, Queue
from kombu.common import Broadcast

import celery_fleet
from celery_fleet.fleet import Fleet
from celery_fleet.settings.table import setting

App = Callable[..., Celery]

# A Django project's, as people have them.
DJANGO = {
    "CELERY_BROKER_URL": "redis://localhost:6379/0",
    "CELERY_RESULT_BACKEND": "redis://localhost:6379/1",
    "CELERY_ACCEPT_CONTENT": ["application/json"],
    "CELERY_TASK_SERIALIZER": "json",
    "CELERY_RESULT_SERIALIZER": "json",
    "CELERY_RESULT_EXTENDED": True,
    "CELERY_TIMEZONE": "Europe/Berlin",
    "CELERY_TASK_TRACK_STARTED": True,
    "CELERY_TASK_TIME_LIMIT": 300,
    "CELERY_TASK_SOFT_TIME_LIMIT": 60,
    "CELERY_TASK_ACKS_LATE": True,
    "CELERY_TASK_SEND_SENT_EVENT": True,
    "CELERY_WORKER_SEND_TASK_EVENTS": True,
    "CELERY_WORKER_PREFETCH_MULTIPLIER": 7,
    "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
    "CELERY_BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": 43200, "client_properties": {"app": "shop"}},
    "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
    "CELERY_TASK_QUEUES": [Queue("default"), Queue("priority", Exchange("priority"), routing_key="p")],
    "CELERY_TASK_DEFAULT_QUEUE": "default",
    "CELERY_BEAT_SCHEDULER": "django_celery_beat.schedulers:DatabaseScheduler",
    "SECRET_KEY": "hunter2",
}
REPLACED = (
    "broker_url, broker_transport_options.visibility_timeout, task_queues, task_default_queue, "
    "task_send_sent_event, task_time_limit, task_soft_time_limit, worker_prefetch_multiplier"
)

# The same in the names that Celery had before its fourth release.
OLD = {
    "BROKER_URL": "redis://localhost:6379/0",
    "BROKER_TRANSPORT": "redis",
    "CELERY_RESULT_BACKEND": "redis://localhost:6379/1",
    "CELERY_ACKS_LATE": False,
    "CELERY_SEND_TASK_SENT_EVENT": True,
    "CELERYD_PREFETCH_MULTIPLIER": 7,
    "CELERY_TRACK_STARTED": True,
}


def _module(settings: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType("settings")
    vars(module).update(settings)
    return module


def test_a_django_project_gets_on_with_one_warning(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CELERY_FLEET_POOL", "cpu")
    app = Celery("shop", set_as_current=False)
    app.config_from_object(_module(DJANGO), namespace="CELERY")
    celery_fleet.configure(app)
    conf = app.conf
    assert not caplog.records, "nothing was read yet"
    assert len(conf.broker_url) == 2
    assert [record.message for record in caplog.records] == [
        f"The fleet replaces these settings of the application: {REPLACED}"
    ]
    assert app.amqp.queues.keys() == fleet.addresses().keys()
    assert conf.task_track_started
    assert conf.result_backend == DJANGO["CELERY_RESULT_BACKEND"]
    assert conf.timezone == "Europe/Berlin"
    assert conf.beat_scheduler == DJANGO["CELERY_BEAT_SCHEDULER"]
    assert conf.worker_send_task_events
    assert not conf.task_send_sent_event
    assert conf.worker_prefetch_multiplier == fleet.pools["cpu"].prefetch_multiplier
    assert conf.broker_transport_options["client_properties"] == {"app": "shop"}
    assert "visibility_timeout" not in conf.broker_transport_options
    assert len(caplog.records) == 1, "once a process"


def test_names_of_old_count_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CELERY_FLEET_POOL", "cpu")
    app = Celery("shop", set_as_current=False)
    app.config_from_object(_module(OLD))
    celery_fleet.configure(app)
    conf = app.conf
    assert conf.task_acks_late
    assert not conf.task_send_sent_event
    assert conf.worker_prefetch_multiplier == fleet.pools["cpu"].prefetch_multiplier
    assert conf.task_track_started
    assert conf.broker_transport is None
    for name in ("broker_url", "broker_transport", "task_acks_late", "task_send_sent_event"):
        assert name in caplog.text


def test_a_transport_or_a_login_of_the_application_does_not_count(make_app: App) -> None:
    app = make_app(
        broker_transport="redis",
        broker_user="me",
        broker_password="hunter2",
        broker_login_method="EXTERNAL",
        broker_transport_options={
            "heartbeat": 1,
            "ssl": True,
            "login_method": "EXTERNAL",
            "password": "hunter2",
        },
    )
    connection: Any = app.connection_for_write()
    assert type(connection.transport).__module__ == "celery_fleet.connection"
    assert connection.userid == "client"
    assert connection.password is None
    assert connection.transport_options.keys().isdisjoint({"heartbeat", "ssl", "login_method", "password"})


# Values of settings that are extended; others are replaced or not, whatever they are.
ODD: dict[str, Any] = {
    "accept_content": ["pickle"],
    "broker_transport_options": {"visibility_timeout": 1},
}


@pytest.mark.parametrize("name", sorted(SETTING_KEYS - {"task_queues", "broker_connection_timeout"}))
def test_a_setting_is_whose_the_table_says(
    make_app: App, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    odd = ODD.get(name, object())
    app = make_app("cpu")
    app.conf[name] = odd
    assert app.amqp
    entry = setting(name)
    assert entry is not None
    wins = entry.decides.name in ("FLEET", "BOTH")
    assert (app.conf[name] is odd) is not wins
    assert (name in caplog.text) is wins


def test_what_is_set_after_the_settings_were_read_counts_no_more(make_app: App) -> None:
    app = make_app()
    assert not app.conf.task_send_sent_event
    app.conf.task_send_sent_event = True
    app.conf.broker_url = "amqp://elsewhere//"
    assert app.amqp
    assert not app.conf.task_send_sent_event
    assert len(app.conf.broker_url) == 2


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        (["pickle"], ["pickle", "json"]),
        (("application/json", "yaml"), ["application/json", "yaml"]),
        (["json"], ["json"]),
        (None, None),
    ],
)
def test_workers_accept_json_beside_what_the_application_accepts(
    make_app: App, given: Any, becomes: Any
) -> None:
    assert make_app(accept_content=given).conf.accept_content == becomes


def test_remote_control_is_json_whatever_tasks_are(make_app: App) -> None:
    app = make_app("cpu", task_serializer="pickle", accept_content=["pickle"])
    assert app.conf.task_serializer == "pickle"
    assert app.control.mailbox.serializer == "json"
    assert "json" in app.control.mailbox.accept


REFUSED: list[tuple[str, Any, str]] = [
    ("result_backend", "rpc://", "rpc://"),
    ("result_backend", "rpc", "rpc"),
    ("result_backend", "amqp://me:hunter2@broker//", "amqp://"),
    ("result_backend", "celery.backends.rpc:RPCBackend", "celery.backends.rpc:RPCBackend"),
    ("task_queues", [Queue("default"), Broadcast("news")], "news"),
    ("task_queues", {"news": {"exchange": "news", "exchange_type": "fanout"}}, "news"),
    ("task_queues", [Queue("copies", Exchange("copies", "fanout"))], "copies"),
    ("task_serializer", "auth", "auth"),
]


@pytest.mark.parametrize(("name", "value", "shown"), REFUSED)
def test_a_refused_value_is_named_with_what_to_do(make_app: App, name: str, value: Any, shown: str) -> None:
    with pytest.raises(celery_fleet.SettingsError) as refusal:
        app = make_app(**{name: value})
        assert app.conf.broker_url
    entry = setting(name)
    assert entry is not None
    assert str(refusal.value).splitlines()[1:] == [f"  {name} = {shown}: {entry.meaning}"]
    assert "hunter2" not in str(refusal.value)


def test_all_refusals_come_at_once_and_again(make_app: App) -> None:
    settings = {"result_backend": "rpc://", "task_serializer": "auth", "task_queues": [Broadcast("news")]}
    app = make_app(**settings)
    for _ in range(2):
        with pytest.raises(celery_fleet.SettingsError) as refusal:
            assert app.amqp
        assert {name for name, _, _ in refusal.value.refused} == settings.keys()
    assert len(app.conf.broker_url) == 2, "and never another broker"


def test_a_result_backend_of_the_environment_is_looked_at(
    make_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "rpc://")
    with pytest.raises(
        celery_fleet.SettingsError, match=r"result_backend = rpc://: Refused .* Redis, Valkey"
    ):
        assert make_app(result_backend="redis://localhost").conf.broker_url


@pytest.fixture
def broken_application(fleet: Fleet) -> Iterator[str]:
    """A module whose application reads its settings late, as Django's."""
    app = Celery("shop", set_as_current=False)
    app.config_from_object(_module({"CELERY_RESULT_BACKEND": "rpc://"}), namespace="CELERY")
    celery_fleet.configure(app)
    module = types.ModuleType("broken_application")
    vars(module)["app"] = app
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, module.__name__, module)
        yield f"{module.__name__}:app"


def test_the_import_of_a_build_ends_with_the_refusal(broken_application: str) -> None:
    """What the kit runs on each host before it starts anything of a release."""
    app = find_app(broken_application)
    with pytest.raises(celery_fleet.SettingsError, match="result_backend"):
        app.loader.import_default_modules()


def test_nothing_is_logged_of_a_plain_application(make_app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert make_app("cpu").amqp
        assert make_app().amqp
    assert caplog.text == ""
