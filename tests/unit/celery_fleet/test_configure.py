from __future__ import annotations

import inspect
import logging
import os
import socket
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from celery import Celery, beat
from celery.beat import Scheduler
from celery.exceptions import QueueNotFound
from celery.utils.quorum_queues import detect_quorum_queues
from kombu import Queue
from support.fleet_files import PASSWORD

import celery_fleet
from celery_fleet.connection import Transport
from celery_fleet.fleet import Fleet
from celery_fleet.minors import PERIODIC_HEADER

App = Callable[..., Celery]


def test_it_touches_no_network(make_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    app = make_app("io")
    assert app.conf.task_queues


def test_all_nodes_are_in_the_broker_url_and_no_password(make_app: App) -> None:
    assert make_app().conf.broker_url == [
        "fleet://client@10.0.0.1:5672/celery_fleet",
        "fleet://client@10.0.0.2:5673/celery_fleet",
    ]


def test_a_worker_is_its_pools_user(make_app: App, fleet: Fleet) -> None:
    conf = make_app("io").conf
    assert {urlsplit(url).username for url in conf.broker_url} == {"worker_io"}
    assert conf.broker_transport_options["password_file"] == fleet.pools["io"].password_file


def test_kombu_takes_the_fleets_transport_and_keeps_it_at_the_next_node(make_app: App) -> None:
    app = make_app()
    connection: Any = app.connection_for_write()
    seen = set()
    for _ in connection.alt:
        seen.add((connection.hostname, connection.port))
        assert isinstance(connection.transport, Transport)
        assert (connection.userid, connection.virtual_host) == ("client", "celery_fleet")
        assert connection.transport_options["confirm_publish"] is True
        connection.maybe_switch_next()
    assert seen == {("10.0.0.1", 5672), ("10.0.0.2", 5673)}
    assert isinstance(app.pool.acquire().transport, Transport)


def test_a_publisher_has_time_to_try_every_node(make_app: App) -> None:
    for app in (make_app(), make_app("io"), make_app(broker_connection_timeout=7)):
        connection: Any = app.connection_for_write()
        whole = connection.transport_options["connect_retries_timeout"]
        assert whole >= connection.connect_timeout * len(connection.alt)
    assert (connection.connect_timeout, whole) == (7, 14)


def test_a_process_has_time_to_start_on_a_busy_host(make_app: App) -> None:
    assert make_app("cpu").conf.worker_proc_alive_timeout == 60
    assert make_app("cpu", worker_proc_alive_timeout=300).conf.worker_proc_alive_timeout == 300


def test_the_password_shows_up_nowhere(make_app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        app = make_app("io", task_queues=[])
    shown = [
        app.conf.humanize(),
        repr(app.conf.table(with_defaults=True)),
        repr(app.connection()),
        app.connection().as_uri(),
        caplog.text,
        repr(app.amqp),
    ]
    for text in shown:
        assert PASSWORD not in unquote(text)


def test_an_ipv6_node_is_bracketed(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["broker"]["nodes"] = [{"host": "fd00::1", "port": 5672}]
    write()
    assert make_app().connection().hostname == "fd00::1"


def test_queues_are_told_but_never_declared(make_app: App, fleet: Fleet) -> None:
    app = make_app()
    queues: Any = app.amqp.queues
    assert set(queues) == set(fleet.addresses())
    for pool, queue in fleet.addresses().values():
        told = queues[queue.name]
        assert told.no_declare
        assert told.exchange.no_declare
        assert (told.exchange.name, told.exchange.type) == (pool.exchange, pool.exchange_type)
        assert told.routing_key == queue.routing_key
    assert detect_quorum_queues(app, "amqp")[0]
    assert app.conf.task_create_missing_queues is False
    assert app.amqp.default_queue.name == fleet.routing.default_queue


def test_a_classic_fleet_is_not_taken_for_quorum(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    for pool in contents["pools"].values():
        pool["queue_type"] = "classic"
    write()
    assert not detect_quorum_queues(make_app(), "amqp")[0]


def test_a_worker_has_the_limits_of_its_pool(make_app: App, fleet: Fleet) -> None:
    conf = make_app("memory").conf
    pool = fleet.pools["memory"]
    assert conf.worker_prefetch_multiplier == pool.prefetch_multiplier
    assert conf.worker_max_tasks_per_child == pool.max_tasks_per_child
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.task_acks_on_failure_or_timeout


@pytest.mark.parametrize("pool", [None, "io"])
def test_a_message_carries_no_limits_but_its_task_s_own(make_app: App, pool: str | None) -> None:
    """Those of the process that publishes it are not those of the pool that runs it."""
    app = make_app(pool, task_time_limit=300, task_soft_time_limit=200)
    sent = []
    app.send_task = lambda *_, **options: sent.append((options["time_limit"], options["soft_time_limit"]))
    app.task(_train_model, name="plain").apply_async()
    app.task(_train_model, name="own", time_limit=50).apply_async()
    app.task(_train_model, name="called").apply_async(time_limit=60, soft_time_limit=40)
    assert sent == [(None, None), (50, None), (60, 40)]


def test_early_acknowledgement_is_the_pools_choice(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["pools"]["io"]["acknowledgement"] = "early"
    write()
    conf = make_app("io").conf
    assert not conf.task_acks_late
    assert not conf.task_reject_on_worker_lost


def test_a_gevent_pool_has_no_heartbeats(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["pools"]["io"]["execution"] = "gevent"
    write()
    assert make_app("io").conf.broker_heartbeat == 0


def test_an_unknown_pool_is_refused(make_app: App) -> None:
    with pytest.raises(celery_fleet.FleetFileError, match="no pool `gpu`, which CELERY_FLEET_POOL names"):
        make_app("gpu")


def test_without_the_file_the_application_ends_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_FLEET_FILE", "/nowhere/fleet.json")
    with pytest.raises(celery_fleet.FleetFileError, match="deploy"):
        celery_fleet.configure(Celery("test", set_as_current=False))


def test_without_the_password_too(make_app: App, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "worker_io").unlink()
    with pytest.raises(celery_fleet.FleetFileError, match="worker_io: no such file"):
        make_app("io")
    make_app("cpu")


OWN = {
    "result_backend": "redis://localhost/7",
    "task_annotations": {"*": {"rate_limit": "10/s"}},
    "beat_schedule": {"tidy": {"task": "tidy", "schedule": 60.0}},
    "task_serializer": "json",
    "timezone": "Europe/Berlin",
    "broker_heartbeat": 77,
    "broker_transport_options": {"client_properties": {"connection_name": "shop"}},
}


def test_other_settings_stay(make_app: App) -> None:
    conf = make_app("cpu", **OWN).conf
    for name, value in OWN.items():
        if name != "broker_transport_options":
            assert conf[name] == value
    assert conf.broker_transport_options["client_properties"] == {"connection_name": "shop"}
    assert conf.broker_transport_options["confirm_publish"] is True


def test_settings_of_the_fleet_win_and_are_named(make_app: App, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(broker_url="amqp://elsewhere//", broker_read_url="amqp://x//", task_acks_late=False)
    assert len(app.conf.broker_url) == 2
    assert app.conf.broker_read_url == app.conf.broker_url
    assert app.conf.task_acks_late
    assert "broker_url, broker_read_url, task_acks_late" in caplog.text
    assert "elsewhere" not in caplog.text


class _Configuration:
    result_backend = "redis://localhost/7"
    task_default_queue = "mine"
    broker_heartbeat = 77


class _PrefixedConfiguration:
    CELERY_RESULT_BACKEND = "redis://localhost/7"
    CELERY_TASK_DEFAULT_QUEUE = "mine"
    CELERY_BROKER_HEARTBEAT = 77


@pytest.mark.parametrize("source", [_Configuration, _PrefixedConfiguration])
@pytest.mark.parametrize("when", ["before", "after", "after use"])
def test_the_order_of_configuration_does_not_matter(fleet: Fleet, source: type, when: str) -> None:
    namespace = "CELERY" if source is _PrefixedConfiguration else None
    app = Celery("test", set_as_current=False)
    if when == "before":
        app.config_from_object(source, namespace=namespace)
    celery_fleet.configure(app)
    if when == "after use":
        assert app.conf.task_default_queue == fleet.routing.default_queue
    if when != "before":
        app.config_from_object(source, namespace=namespace)
    assert app.conf.task_default_queue == fleet.routing.default_queue
    assert app.conf.result_backend == "redis://localhost/7"
    assert app.conf.broker_heartbeat == 77
    assert len(app.conf.broker_url) == 2


def test_an_application_that_was_used_already_is_converted(fleet: Fleet) -> None:
    app = Celery("test", set_as_current=False)
    assert app.amqp.queues
    celery_fleet.configure(app)
    assert set(app.amqp.queues) == set(fleet.addresses())


def test_a_second_call_changes_nothing(make_app: App, recwarn: pytest.WarningsRecorder) -> None:
    app = make_app(task_default_queue="mine")
    amqp = app.amqp
    assert celery_fleet.configure(app)
    assert app.tasks["celery_fleet.canary"] and app.amqp is amqp
    assert not recwarn.list


def test_the_canary_is_registered_once_per_application(make_app: App) -> None:
    app = make_app()
    assert app.tasks["celery_fleet.canary"].ignore_result
    assert "celery_fleet.canary" not in Celery("other", set_as_current=False).tasks


def _route(app: Celery, name: str, task: Any = None, **options: object) -> tuple[str, str, str, str]:
    routed: Any = app.amqp.router.route(options, name, task_type=task)
    return routed["queue"].name, routed["exchange"], routed["routing_key"], routed["exchange_type"]


ML = ("cpu_ml_training", "cpu_tasks", "cpu.ml", "topic")
EMAIL = ("io_email_sending", "io_tasks", "io.email", "topic")
API = ("io_api_calls", "io_tasks", "io.api", "topic")


def test_a_route_names_queue_exchange_and_key(make_app: App) -> None:
    app = make_app()
    assert _route(app, "train_model") == ML
    # Celery passes the attributes that a task does not have as None.
    assert _route(app, "train_model", queue=None, exchange=None, routing_key=None) == ML
    assert _route(app, "train_model", queue="io_email_sending") == EMAIL
    assert _route(app, "train_model", routing_key=None, queue=app.amqp.queues["io_email_sending"]) == EMAIL


def test_a_direct_exchange_is_addressed_by_name(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["pools"]["cpu"]["exchange_type"] = "direct"
    write()
    expected = ("cpu_ml_training", "cpu_tasks", "cpu.ml", "direct")
    assert _route(make_app(), "train_model") == expected
    assert _route(make_app(), "anything", queue="cpu_ml_training") == expected


def test_an_unknown_queue_is_refused(make_app: App) -> None:
    with pytest.raises(QueueNotFound):
        _route(make_app(), "train_model", queue="gone")


def _train_model() -> None:
    """Only its name and attributes matter here."""


def test_an_alias_leads_to_its_queue_wherever_it_is_named(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["routing"]["aliases"] = {"mail": EMAIL[0]}
    write()
    app = make_app(task_routes={"shop.*": {"queue": "mail", "exchange": "mail", "routing_key": "mail"}})
    for asked in ({"queue": "mail"}, {"queue": Queue("mail")}, {"queue": "mail", "routing_key": "mail.slow"}):
        assert _route(app, "train_model", **asked) == EMAIL
    assert _route(app, "shop.train_model") == EMAIL
    # A retry stays in the queue that its task came from.
    assert _route(app, "send", queue="mail", exchange="cpu_tasks", routing_key="cpu.ml") == ML


def test_hints_come_from_headers_then_from_the_task(make_app: App) -> None:
    app = make_app()

    train_model = app.task(_train_model, name="train_model", resource="io", shared=False)

    assert _route(app, "train_model", train_model) == API
    assert _route(app, "train_model", train_model, headers=celery_fleet.hint("memory"))[0] == (
        "memory_aggregations"
    )
    assert _route(app, "train_model", headers=celery_fleet.hint("gpu"))[0] == "general_background"
    assert _route(app, "x", train_model, headers=celery_fleet.hint("io"), queue="cpu_ml_training") == ML


def test_a_tasks_resource_of_another_kind_is_no_hint(make_app: App) -> None:
    app = make_app()

    train_model = app.task(_train_model, name="train_model", resource=object(), shared=False)

    assert _route(app, "train_model", train_model) == ML


def test_the_unlocking_of_a_chord_does_not_follow_its_body(make_app: App) -> None:
    app = make_app()
    default = ("general_background", "general_tasks", "general.background", "topic")
    headers = celery_fleet.hint("memory")
    assert _route(app, "celery.chord_unlock", queue="memory_aggregations", headers=headers) == default
    retry = {"exchange": "memory_tasks", "routing_key": "memory.aggregate", "exchange_type": "topic"}
    assert _route(app, "celery.chord_unlock", **retry) == default


def test_a_site_may_send_the_unlocking_of_chords_elsewhere(
    contents: dict[str, Any], write: Callable[[], Fleet], make_app: App
) -> None:
    contents["routing"]["site_rules"] = [
        {"name": "chords", "task": "celery.chord_unlock", "queue": "general_scheduled"}
    ]
    write()
    assert _route(make_app(), "celery.chord_unlock", queue="cpu_ml_training")[0] == "general_scheduled"


@pytest.mark.parametrize(
    ("name", "resource", "queue"), [("send_email", None, EMAIL[0]), ("tidy_up", "io", API[0])]
)
def test_map_starmap_and_chunks_go_where_their_task_goes(
    make_app: App, name: str, resource: str | None, queue: str
) -> None:
    app = make_app()
    task = app.task(_train_model, name=name, resource=resource, shared=False)
    sent = []
    app.amqp.send_task_message = lambda _producer, name, _message, **options: sent.append((name, options))

    task.map([1, 2]).apply_async()
    task.starmap([(1,), (2,)]).apply_async()
    task.chunks([(1,), (2,)], 1).apply_async()

    assert [name for name, _ in sent] == ["celery.map", *["celery.starmap"] * 3]
    assert {options["queue"].name for _, options in sent} == {queue}


@pytest.mark.skipif(
    PERIODIC_HEADER not in inspect.getsource(beat), reason="Celery's own scheduler marks nothing before 5.7"
)
def test_beats_own_scheduler_marks_what_it_sends(make_app: App) -> None:
    app = make_app()
    app.task(_train_model, name="tidy_up", shared=False)
    sent = []
    app.amqp.send_task_message = lambda _producer, name, _message, **options: sent.append(
        (name, options["queue"].name)
    )
    scheduler = Scheduler(app=app, lazy=True)
    for name, options in (
        ("tidy_up", {}),
        ("not.registered.here", {}),
        ("aggregate_sales", {}),
        ("tidy_up", {"headers": celery_fleet.hint("io")}),
        ("tidy_up", {"queue": "cpu_ml_training"}),
        ("celery.backend_cleanup", {}),
    ):
        scheduler.apply_async(scheduler.Entry(name=name, task=name, schedule=60, options=options, app=app))
    assert sent == [
        ("tidy_up", "general_scheduled"),
        ("not.registered.here", "general_scheduled"),
        ("aggregate_sales", "memory_aggregations"),
        ("tidy_up", "io_api_calls"),
        ("tidy_up", "cpu_ml_training"),
        ("celery.backend_cleanup", "general_background"),
    ]


def test_beat_marks_periodic_tasks(make_app: App) -> None:
    headers = {"celery_beat_task": True}
    assert _route(make_app(), "tidy", headers=headers)[0] == "general_scheduled"
    assert _route(make_app(), "train_model", headers=headers) == ML


def test_own_routes_come_before_the_rules_and_after_hints(make_app: App) -> None:
    app = make_app(
        task_routes=[
            {"train_model": {"queue": "io_email_sending", "priority": 3}},
            lambda name, *_, **__: "cpu_ml_training" if name == "odd" else None,
        ]
    )
    assert _route(app, "train_model") == EMAIL
    assert app.amqp.router.route({}, "train_model")["priority"] == 3
    assert _route(app, "odd") == ML
    assert _route(app, "upload_file")[0] == "io_file_operations"
    assert _route(app, "train_model", headers=celery_fleet.hint("io")) == API
    assert _route(app, "train_model", queue="cpu_ml_training") == ML


def test_own_routes_may_only_add_options(make_app: App) -> None:
    app = make_app(task_routes={"train_model": {"priority": 3}})
    assert _route(app, "train_model") == ML
    assert app.amqp.router.route({}, "train_model")["priority"] == 3


def test_a_retry_stays_where_its_task_was_sent(make_app: App) -> None:
    options = {"queue": "cpu_ml_training", "exchange": "io_tasks", "routing_key": "io.email"}
    assert _route(make_app(), "train_model", **options) == EMAIL


def test_a_retry_after_a_delay_goes_to_the_real_exchange(make_app: App) -> None:
    key = ".".join("0" * 26 + "11") + ".io.email"
    options = {"exchange": "celery_delayed_delivery", "routing_key": key}
    assert _route(make_app(), "train_model", **options) == EMAIL


def test_an_exchange_of_the_application_is_left_alone(make_app: App) -> None:
    options = {"exchange": "events", "routing_key": "user.created"}
    routed = make_app().amqp.router.route(options, "train_model")
    assert (routed["exchange"], routed["routing_key"]) == ("events", "user.created")
    assert (routed["queue"].name, routed["queue"].exchange.type) == ("", "direct")


def test_routing_is_cheap(make_app: App) -> None:
    rules = make_app().amqp.router.rules
    seconds = min(timeit.repeat(lambda: rules.explain("shop.tasks.train_model"), number=2000, repeat=5))
    assert seconds / 2000 < 50e-6


def test_the_rest_of_the_environment_is_only_read(make_app: App) -> None:
    before = dict(os.environ)
    make_app()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "names", [["CELERY_BROKER_URL"], ["CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"]]
)
def test_a_broker_in_the_environment_is_taken_out_and_named(
    make_app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    for name in names:
        monkeypatch.setenv(name, "amqp://stranger:hunter2@elsewhere//")
    app = make_app()
    for connection in (app.connection_for_read(), app.connection_for_write()):
        assert {urlsplit(url).hostname for url in connection.alt} == {"10.0.0.1", "10.0.0.2"}
    assert not set(names) & set(os.environ)
    assert ", ".join(names) in caplog.text
    assert "hunter2" not in caplog.text
    assert "elsewhere" not in caplog.text
