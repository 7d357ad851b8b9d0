"""Several schedulers at one broker: one sends, and what it sent is known to the next."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from amqp import Message
from amqp.exceptions import AccessRefused
from fleet.model.names import BEAT
from kombu import Connection
from support.beats import QUEUE, Beat, beat_file, taken
from support.vhost import START, Vhost, temporary_vhost, wait_for

from celery_fleet.scheduler.lock import RUNS_HEADER


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers, which would take what the test counts."""
    with temporary_vhost(tmp_path_factory.mktemp("b")) as vhost:
        yield vhost


def _beat_file(vhost: Vhost, name: str) -> Path:
    tick = {"task": "nobody.runs.it", "every": 1, "queue": QUEUE}
    return beat_file(vhost, name, tick=tick, late={"task": "nobody.runs.it", "every": 3600})


def _ticks(channel: Any) -> list[float]:
    return [at for name, at in taken(channel) if name == "tick"]


def test_nobody_but_the_scheduler_may_publish_its_notes(vhost: Vhost) -> None:
    host, port = vhost.address
    for user in ("client", "worker_io", "verify"):
        login = {"userid": vhost.user(user), "password": vhost.password(user)}
        with Connection(hostname=host, port=port, virtual_host=vhost.name, **login) as connection:
            channel = connection.channel()
            with pytest.raises(AccessRefused, match="fleet_beat"):
                channel.basic_publish_confirm(Message("{}"), exchange="general_tasks", routing_key=BEAT)


@pytest.mark.minors
def test_a_false_note_and_a_wrong_clock_silence_nobody(vhost: Vhost) -> None:
    user, exchange = vhost.user("beat"), "general_tasks"
    host, port = vhost.address
    notes = [{"tick": 2**70}, {"tick": 4e9}, {"tick": "soon"}]
    with Connection(vhost.admin_url) as admin, admin.Producer() as anybody:
        for note in notes:
            headers = {RUNS_HEADER: json.dumps(note)}
            anybody.publish("", exchange=exchange, routing_key=BEAT, headers=headers)
        with (
            Connection(
                hostname=host,
                port=port,
                userid=user,
                password=vhost.password("beat"),
                virtual_host=vhost.name,
            ) as own,
            own.Producer() as scheduler,
        ):
            headers = {RUNS_HEADER: json.dumps({"late": time.time() + 86_400, "tick": 1e18})}
            scheduler.publish("", exchange=exchange, routing_key=BEAT, headers=headers, user_id=user)
        beat = Beat(vhost, "beat0", _beat_file(vhost, "notes"))
        try:
            beat.awaits("active", START)
            channel = admin.channel()
            tick = wait_for(lambda: channel.basic_get(QUEUE, no_ack=True), 60, "a tick")
            assert tick.properties["user_id"] == user, "the broker vouches for the scheduler"
            wait_for(lambda: beat.state["ahead"] == ["late"], 60, "a run in the future")
            assert beat.log.count("that no scheduler sent") == len(notes)
            assert beat.process.poll() is None
        finally:
            beat.kill()
        channel.queue_purge(QUEUE)


def test_one_sends_and_the_next_goes_on_where_it_stopped(vhost: Vhost) -> None:
    beat_file = _beat_file(vhost, "beat")
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
                lambda: {first.state["role"], second.state["role"]} == {"active", "standby"}, START, "roles"
            )
            active, other = (first, second) if first.state["role"] == "active" else (second, first)
            collect(4, 60)
            # Killed: whoever takes over misses nothing that is longer than the taking over.
            active.process.kill()
            other.awaits("active", 60)
            collect(3, 60)
            # Frozen: the broker gives it up, and when it wakes it sends nothing.
            third = start("beat3")
            third.awaits("standby", START)
            other.process.send_signal(signal.SIGSTOP)
            third.awaits("active", 60)
            collect(2, 60)
            other.process.send_signal(signal.SIGCONT)
            wait_for(lambda: other.state["role"] == "standby", 60, "standby again")
            collect(2, 60)
            # Stopped: the other goes on at once.
            third.process.send_signal(signal.SIGTERM)
            assert third.process.wait(60) == 0
            other.awaits("active", 60)
            collect(2, 60)
        finally:
            for beat in beats:
                beat.kill()
        ticks += _ticks(channel)
    assert len(set(ticks)) == len(ticks), "no tick twice"
    steps = [round(after - before, 3) for before, after in pairwise(ticks)]
    assert all(step == round(step) >= 1 for step in steps), f"on the same grid, in order: {steps}"
    # Each second, but for the takeovers and for moments in which a busy machine lets none of them run.
    assert median(steps) == 1 and max(steps) < 60, steps
