"""A publisher says nothing to the broker but its tasks, whatever settings and options ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from celery import Celery
from celery.app.control import Control
from celery.exceptions import QueueNotFound
from kombu import Exchange, Queue
from kombu.common import Broadcast

import celery_fleet

App = Callable[..., Celery]


class Recorder:
    """Stands for a producer, and notes what is published."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, _body: object, **options: Any) -> None:
        self.published.append(options)


def _send(app: Celery, **options: object) -> list[dict[str, Any]]:
    recorder = Recorder()
    routed: Any = app.amqp.router.route(options, "work")
    message = app.amqp.as_task_v2("id-1", "work", create_sent_event=True)
    app.amqp.send_task_message(recorder, "work", message, **routed)
    return recorder.published


def test_no_event_is_sent_of_a_task(make_app: App) -> None:
    app = make_app(task_send_sent_event=True)
    (published,) = _send(app, queue="io_api_calls")
    assert published["exchange"] == "io_tasks"
    assert not app.amqp._event_dispatcher._outbound_buffer


def test_nothing_is_declared(make_app: App) -> None:
    for options in ({}, {"declare": [Queue("other")]}, {"declare": Exchange("other")}):
        (published,) = _send(make_app(), queue="io_api_calls", **options)
        assert published["declare"] == []


def test_of_a_queue_object_only_the_name_counts(make_app: App) -> None:
    (published,) = _send(make_app(), queue=Queue("io_api_calls", Exchange("other"), routing_key="other"))
    assert (published["exchange"], published["routing_key"]) == ("io_tasks", "io.api")


@pytest.mark.parametrize("queue", [Queue("other"), Broadcast("news")])
def test_a_queue_object_that_the_fleet_lacks_is_refused(make_app: App, queue: Queue) -> None:
    with pytest.raises(QueueNotFound):
        _send(make_app(), queue=queue)


def test_remote_control_without_the_right_says_what_to_do(
    make_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AccessRefused("configure access to exchange 'celery.pidbox' refused")

    monkeypatch.setattr(Control, "broadcast", refuse)
    app = make_app()
    for command in (app.control.ping, lambda: app.control.revoke("id-1"), app.control.inspect().active):
        with pytest.raises(celery_fleet.ControlRefusedError, match="Let a task do it, or an operator"):
            command()
