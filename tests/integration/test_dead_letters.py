"""Tasks that died: how they get there, and that nobody loses or doubles one on the way back."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from amqp import Message
from kombu import Connection
from support.vhost import Vhost, temporary_vhost, wait_for

import celery_fleet
from celery_fleet import fleet_file
from celery_fleet.__main__ import main
from celery_fleet.operator.dead_letters import DeadLetters, Selection, visit

DEAD = "cpu_tasks_dead"
QUEUE = "cpu_ml_training"
OTHER = "cpu_video_processing"
KEYS = {QUEUE: "cpu.ml", OTHER: "cpu.video"}

# Zero seconds and one, as kombu writes a delay of one second.
ONE_SECOND = ".".join("0" * 27 + "1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without workers; what dies here stays."""
    with temporary_vhost(tmp_path_factory.mktemp("dead")) as vhost:
        yield vhost


@pytest.fixture(autouse=True)
def empty(shop: Vhost) -> Iterator[None]:
    yield
    for queue in (QUEUE, OTHER, DEAD):
        shop.management.call("DELETE", "queues", shop.name, queue, "contents")


def command(vhost: Vhost, *arguments: str) -> tuple[int, str, str]:
    """Run the command in this process, and return its status, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, CELERY_FLEET_FILE=str(vhost.fleet_file())),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            status: Any = main(["dead-letters", *arguments])
        except SystemExit as end:
            status = end.code
    return status, output.getvalue(), errors.getvalue()


def dead(vhost: Vhost, *arguments: str) -> dict[str, Any]:
    """Run the command, and return its result."""
    status, output, errors = command(vhost, *arguments)
    assert status == 0, errors
    return dict(json.loads(output))


def send_back(vhost: Vhost, *arguments: str) -> dict[str, Any]:
    return dead(vhost, "send-back", "--policies-checked", *arguments)


def publish(vhost: Vhost, exchange: str, key: str, *ids: str, task: str = "shop.train_model") -> None:
    """Publish messages one after the other; when the last is confirmed, all are there."""
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()
        for number, task_id in enumerate(ids, 1):
            message = Message(
                json.dumps([[task_id], {}, {}]),
                delivery_mode=2,
                content_type="application/json",
                content_encoding="utf-8",
                correlation_id=task_id,
                application_headers={"id": task_id, "task": task},
            )
            send = channel.basic_publish if number < len(ids) else channel.basic_publish_confirm
            send(message, exchange=exchange, routing_key=key)


def reject(vhost: Vhost, queue: str, count: int, requeue: bool = False) -> None:
    """Reject messages as they come, as a task does that raises Reject."""
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()
        for number in range(count):
            message = wait_for(partial(channel.basic_get, queue), 60, f"message {number} to reject")
            channel.basic_reject(message.delivery_tag, requeue=requeue)


def die(vhost: Vhost, *ids: str, queue: str = QUEUE, task: str = "shop.train_model") -> None:
    publish(vhost, "cpu_tasks", KEYS[queue], *ids, task=task)
    reject(vhost, queue, len(ids))
    wait_for(lambda: vhost.ready_messages(queue) == 0, 60, f"{queue} to be empty")
    wait_for(lambda: ids[-1] in held(vhost), 60, f"{ids[-1]} among the dead letters")


def drain(vhost: Vhost, queue: str, count: int, seconds: float = 60) -> list[str]:
    """Take messages out of a queue as a worker does, and return their ids; then it must be empty."""
    found: list[str] = []
    with Connection(vhost.admin_url) as connection:
        channel = connection.channel()

        def take() -> bool:
            while message := channel.basic_get(queue):
                found.append(message.headers["id"])
                channel.basic_ack(message.delivery_tag)
            return len(found) >= count

        wait_for(take, seconds, f"{count} messages in {queue}")
        time.sleep(0.2)
        take()
    return found


def held(vhost: Vhost) -> list[str]:
    """Return the ids of the dead letters in their order."""
    return [letter["id"] for letter in dead(vhost, "list", "--queue", DEAD)["letters"]]


def kill_by_expiry(vhost: Vhost) -> None:
    vhost.policy(QUEUE, **limits(vhost), **{"message-ttl": 200})
    publish(vhost, "cpu_tasks", KEYS[QUEUE], "one")


def kill_by_limit(vhost: Vhost) -> None:
    vhost.policy(QUEUE, **{**limits(vhost), "delivery-limit": 2})
    publish(vhost, "cpu_tasks", KEYS[QUEUE], "one")
    reject(vhost, QUEUE, 3, requeue=True)


def kill_again_by_limit(vhost: Vhost) -> None:
    # RabbitMQ 4.3 keeps the count of a message over its death.
    reject(vhost, QUEUE, 1 if vhost.series >= (4, 3) else 3, requeue=True)


def kill_by_reject(vhost: Vhost) -> None:
    publish(vhost, "cpu_tasks", KEYS[QUEUE], "one")
    reject(vhost, QUEUE, 1)


def kill_after_delay(vhost: Vhost) -> None:
    publish(vhost, "celery_delayed_27", f"{ONE_SECOND}.{KEYS[QUEUE]}", "one")
    reject(vhost, QUEUE, 1)


DEATHS: dict[str, tuple[Callable[[Vhost], None], Callable[[Vhost], None], str]] = {
    "expired": (kill_by_expiry, lambda _: None, "expired"),
    "delivery limit": (kill_by_limit, kill_again_by_limit, "delivery_limit"),
    "rejected": (kill_by_reject, lambda vhost: reject(vhost, QUEUE, 1), "rejected"),
    "rejected after a delay": (kill_after_delay, lambda vhost: reject(vhost, QUEUE, 1), "rejected"),
}


def limits(vhost: Vhost, queue: str = QUEUE) -> dict[str, Any]:
    """Return the settings of the queue's own policy."""
    policies = vhost.management.call("GET", "policies", vhost.name)
    return dict(next(each["definition"] for each in policies if each["name"].endswith(f".{queue}")))


@pytest.fixture
def own_policies(shop: Vhost) -> Iterator[None]:
    """Takes away what a test set above the fleet's policies."""
    yield
    for policy in shop.management.call("GET", "policies", shop.name):
        if policy["priority"] == 10:
            shop.management.call("DELETE", "policies", shop.name, policy["name"])


@pytest.mark.usefixtures("own_policies")
@pytest.mark.parametrize("death", DEATHS)
def test_a_task_comes_back_whatever_it_died_of_and_may_die_again(shop: Vhost, death: str) -> None:
    kill, kill_again, reason = DEATHS[death]
    kill(shop)
    for times in (1, 2, 3):
        (letter,) = wait_for(lambda: dead(shop, "list")["letters"], 60, "the dead letter")
        assert (letter["id"], letter["task"]) == ("one", "shop.train_model")
        assert (letter["dead_queue"], letter["queue"], letter["reason"]) == (DEAD, QUEUE, reason)
        assert (letter["times"], letter["sent_back"]) == (times, times - 1)
        assert 0 <= letter["age"] < 60
        assert send_back(shop, "--all")["done"] == 1
        kill_again(shop)
    wait_for(lambda: dead(shop, "list")["letters"], 60, "the dead letter")


def test_looking_leaves_everything_as_it_was(shop: Vhost) -> None:
    ids = [str(number) for number in range(50)]
    die(shop, *ids)
    first = dead(shop, "list")
    assert [letter["id"] for letter in first["letters"]] == ids
    letters = DeadLetters(fleet_file.load(str(shop.fleet_file())), lambda _: None)
    for _ in range(25):  # more often than any delivery limit that the broker could have by itself
        again = letters.look(Selection())
    assert [letter.key for letter in again.letters] == [letter["key"] for letter in first["letters"]]
    send_back(shop, "--all")
    # Nor has it spent an attempt of a task.
    reject(shop, QUEUE, 1, requeue=True)
    assert sorted(drain(shop, QUEUE, 50)) == sorted(ids)


def test_some_are_selected(shop: Vhost) -> None:
    die(shop, "a", "b", task="shop.train_model")
    die(shop, "c", task="shop.train_badly", queue=OTHER)
    publish(shop, DEAD, "cpu.ml", "by hand")

    def ids(*arguments: str) -> list[str]:
        return [letter["id"] for letter in dead(shop, "list", *arguments)["letters"]]

    assert ids() == ["a", "b", "c", "by hand"]
    assert ids("--task", "shop.train_b*") == ["c"]
    assert ids("--queue", OTHER) == ["c"]
    assert ids("--pool", "cpu", "--id", "b", "--id", "c") == ["b", "c"]
    assert ids("--pool", "io") == []
    assert ids("--reason", "rejected") == ["a", "b", "c"]
    assert ids("--reason", "unknown") == ["by hand"]
    assert ids("--limit", "2") == ["a", "b"]
    assert ids("--older-than", "3600") == []
    found = dead(shop, "list", "--details", "0", "--pool", "cpu")
    assert found["letters"] == []
    assert found["queues"] == {DEAD: {"total": 4, "selected": 4}}
    assert [(group["task"], group["reason"], group["count"]) for group in found["summary"]] == [
        ("shop.train_model", "rejected", 2),
        ("shop.train_badly", "rejected", 1),
        ("shop.train_model", "unknown", 1),
    ]
    assert send_back(shop, "--task", "shop.train_badly")["done"] == 1
    assert drain(shop, OTHER, 1) == ["c"]
    assert ids() == ["a", "b", "by hand"]
    assert send_back(shop, "--reason", "unknown")["done"] == 1
    assert drain(shop, QUEUE, 1) == ["by hand"]


def test_a_letter_that_no_queue_would_take_stays(shop: Vhost) -> None:
    """At least once means that the broker would try for ever, and hold up the others meanwhile."""
    publish(shop, DEAD, "queue.gone", "lost")
    die(shop, "a")
    found = send_back(shop, "--all")
    assert (found["selected"], found["done"]) == (2, 1)
    assert drain(shop, QUEUE, 1) == ["a"]
    (letter,) = dead(shop, "list")["letters"]
    assert (letter["id"], letter["returns_to"]) == ("lost", None)


def test_what_is_to_be_done_to_all_must_be_said(shop: Vhost) -> None:
    for arguments in (["send-back", "--policies-checked"], ["delete", "--yes"]):
        status, _, errors = command(shop, *arguments)
        assert status == 2
        assert "say which ones, or --all" in errors
    assert "--policies-checked" in command(shop, "send-back", "--all")[2]
    assert "--exported --yes" in command(shop, "delete", "--all")[2]


def test_an_export_is_complete_and_deletes_what_it_holds(shop: Vhost, tmp_path: Path) -> None:
    die(shop, "a", "b")
    path = tmp_path / "dead.jsonl"
    dead(shop, "export", str(path), "--id", "a")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    (line,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (line["body_encoding"], json.loads(line["body"])) == ("utf-8", [["a"], {}, {}])
    assert line["properties"]["correlation_id"] == "a"
    assert line["headers"]["task"] == "shop.train_model"
    assert datetime.fromisoformat(line["headers"]["x-death"][0]["time"]) < datetime.now(UTC)

    status, _, errors = command(shop, "export", str(path))
    assert status == 2
    assert "File exists" in errors
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1

    # Since then it was sent back and died again: that is another death, which no file holds.
    send_back(shop, "--id", "a")
    reject(shop, QUEUE, 1)
    wait_for(lambda: "a" in held(shop), 60, "the second death")
    assert dead(shop, "delete", "--exported", str(path))["done"] == 0
    second = tmp_path / "second.jsonl"
    dead(shop, "export", str(second))
    assert dead(shop, "delete", "--exported", str(second), "--id", "a")["done"] == 1
    assert held(shop) == ["b"]
    assert dead(shop, "delete", "--yes", "--all")["done"] == 1
    assert held(shop) == []


def test_a_body_that_is_no_text_is_exported(shop: Vhost, tmp_path: Path) -> None:
    with Connection(shop.admin_url) as connection:
        message = Message(b"\x00\xff", delivery_mode=2, application_headers={"blob": b"\xfe"})
        connection.channel().basic_publish(message, exchange=DEAD, routing_key="cpu.ml")
    wait_for(lambda: shop.ready_messages(DEAD), 60, "the message")
    dead(shop, "export", str(tmp_path / "file"))
    line = json.loads((tmp_path / "file").read_text(encoding="utf-8"))
    assert (line["body_encoding"], line["body"], line["id"]) == ("base64", "AP8=", None)


def test_one_run_at_a_time(shop: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "SILENCE", 1)
    die(shop, "a")
    with Connection(shop.admin_url) as connection:
        connection.channel().basic_consume(DEAD, callback=lambda _: None)
        status, _, errors = command(shop, "list")
    assert status == 2
    assert f"somebody else consumes {DEAD}" in errors
    assert held(shop) == ["a"]


@pytest.mark.usefixtures("own_policies")
def test_a_killed_send_back_loses_none_and_doubles_none(shop: Vhost) -> None:
    """Killed at a random moment of its work, again and again, until nothing is left to send back."""
    count = 1000
    shop.policy(QUEUE, **{**limits(shop), "max-length": count})
    shop.policy(DEAD, **{**limits(shop, DEAD), "max-length": count})
    ids = [str(number) for number in range(count)]
    publish(shop, DEAD, KEYS[QUEUE], *ids)
    wait_for(lambda: shop.ready_messages(DEAD) == count, 60, "the dead letters")
    letters = DeadLetters(fleet_file.load(str(shop.fleet_file())), lambda _: None)
    environment = shop.environment(shop.fleet_file())
    command = [sys.executable, "-m", "celery_fleet", "dead-letters"]
    arguments = ["send-back", "--policies-checked", "--pool", "cpu"]
    half_way, left = 0, count
    while left and half_way < 4:
        with subprocess.Popen([*command, *arguments], env=environment, stderr=subprocess.PIPE) as process:
            assert process.stderr
            assert b"selected" in process.stderr.readline(), "it begins with what it found"
            time.sleep(random.uniform(0, 0.1))
            process.kill()
        before, left = left, len(letters.look(Selection(pools=["cpu"])).letters)
        half_way += 0 < left < before
    assert half_way, "every run was killed before it began or after its end"
    letters.send_back(Selection(pools=["cpu"]))
    found = drain(shop, QUEUE, count, 60)
    assert [task for task, times in Counter(found).items() if times > 1] == []
    assert sorted(found, key=int) == ids
    print(f"{half_way} runs were killed half-way")


@pytest.mark.usefixtures("own_policies")
def test_what_finds_no_room_waits_at_the_broker(shop: Vhost) -> None:
    """The broker has it, outside of what consumers see, and tries again by itself (every three minutes)."""
    dead_queue, queue = "memory_tasks_dead", "memory_aggregations"
    shop.policy(queue, **{**limits(shop, queue), "max-length": 2})
    publish(shop, dead_queue, "memory.aggregate", *map(str, range(60)))
    wait_for(lambda: shop.ready_messages(dead_queue) == 60, 60, "the dead letters")
    assert send_back(shop, "--pool", "memory")["done"] == 60
    assert dead(shop, "list", "--pool", "memory")["selected"] == 0
    # The limit of a quorum queue is soft by as many as the broker moves at once, 32.
    arrived = wait_for(lambda: shop.ready_messages(queue), 60, "those for which there was room")
    assert arrived < 60

    def waiting() -> int:
        found = shop.management.call("GET", "queues", shop.name, dead_queue)
        return int(found.get("messages", 0)) - int(found.get("messages_ready", 0))

    wait_for(lambda: waiting() == 60 - shop.ready_messages(queue), 60, "the rest in the broker's statistics")


@pytest.mark.usefixtures("own_policies")
def test_a_full_dead_letter_queue_loses_nothing(shop: Vhost) -> None:
    """What dies while it is full stays behind its own queue."""
    dead_queue, queue = "general_tasks_dead", "general_scheduled"
    shop.policy(dead_queue, **{**limits(shop, dead_queue), "max-length": 2})
    publish(shop, "general_tasks", "general.scheduled", *map(str, range(60)))
    reject(shop, queue, 60)
    arrived = wait_for(lambda: shop.ready_messages(dead_queue), 60, "the first of them")
    assert arrived < 60

    def behind() -> int:
        return int(shop.management.call("GET", "queues", shop.name, queue).get("messages", 0))

    wait_for(lambda: behind() == 60 - shop.ready_messages(dead_queue), 60, "the others at their own queue")


@pytest.mark.usefixtures("own_policies")
@pytest.mark.parametrize("countdown", [0, 1])
def test_a_retry_onto_a_full_queue_is_not_lost(
    shop: Vhost, monkeypatch: pytest.MonkeyPatch, countdown: int
) -> None:
    """At once it is refused, so the task dies and can be sent back; delayed it waits for room."""
    queue, label = "io_email_sending", f"retried-{countdown}"
    worker = shop.worker(
        "io", "--pool", "prefork", "--concurrency", "1", environment={"TEST_PATIENCE": "1"}
    ).ready()
    app = shop.client(monkeypatch, patience=0)
    retried = app.send_task("retry_when_released", (label, countdown), queue=queue)
    wait_for(lambda: shop.events(label)["start"], 60, "the start of the task")
    shop.policy(queue, **{**limits(shop, queue), "max-length": 2})
    fillers = 0
    with pytest.raises(celery_fleet.QueueFullError):
        for fillers in range(100):
            app.send_task("work", (f"{label}-{fillers}", 0.4), queue=queue)
    shop.release(label)
    if countdown == 0:
        (letter,) = wait_for(
            lambda: dead(shop, "list", "--pool", "io")["letters"], 60, "the task among the dead letters"
        )
        assert (letter["id"], letter["reason"], letter["queue"]) == (retried.id, "rejected", queue)
        wait_for(lambda: shop.ready_messages(queue) == 0, 60, "room")
        assert send_back(shop, "--id", retried.id)["done"] == 1
    for number in range(fillers):
        wait_for(lambda n=number: shop.events(f"{label}-{n}")["end"], 60, f"filler {number}")
    wait_for(lambda: shop.events(label)["end"], 240, "the end of the retried task")
    assert len(shop.events(label)["end"]) == 1
    assert worker.stop(60) == 0


def test_ten_thousand_are_a_matter_of_seconds_and_little_memory(shop: Vhost) -> None:
    shop.policy(DEAD, **{**limits(shop, DEAD), "max-length": 20_000})
    try:
        publish(shop, DEAD, "cpu.ml", *(uuid.uuid4().hex for _ in range(10_000)))
        wait_for(lambda: shop.ready_messages(DEAD) == 10_000, 60, "the dead letters")
        code = (
            "import resource, sys; from celery_fleet.__main__ import main; main(sys.argv[1:]);"
            "used = resource.getrusage(resource.RUSAGE_SELF);"
            "print(used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, file=sys.stderr)"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, "dead-letters", "list", "--pool", "cpu", "--details", "10"],
            env=shop.environment(shop.fleet_file()),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert json.loads(result.stdout)["selected"] == 10_000, result.stderr
        # Of the processor, since the time on the clock is that of all tests beside this one, too.
        seconds, mebibytes = map(float, result.stderr.splitlines()[-1].split())
        print(f"10 000 dead letters listed in {seconds:.1f} s of the processor with {mebibytes:.0f} MiB")
        assert seconds < 60
        assert mebibytes < 150
    finally:
        shop.management.call("DELETE", "policies", shop.name, DEAD)


@pytest.mark.usefixtures("own_policies")
def test_a_poison_task_ends_here_and_the_pool_goes_on(shop: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """It kills its process each time it is begun, as often as the delivery limit lets it."""
    limit = 5
    shop.policy(QUEUE, **{**limits(shop), "delivery-limit": limit})
    worker = shop.worker("cpu", "--pool", "prefork", "--concurrency", "2").ready()
    app = shop.client(monkeypatch)
    began = time.monotonic()
    poison = app.send_task("poison", ("poison",), queue=QUEUE)
    sent = 0
    while not dead(shop, "list", "--pool", "cpu")["selected"]:
        app.send_task("work", (f"other-{sent}",), queue=OTHER)
        sent += 1
        assert time.monotonic() - began < 120, worker.log.read_text()[-2000:]
    seconds = time.monotonic() - began
    (letter,) = dead(shop, "list", "--pool", "cpu")["letters"]
    assert (letter["id"], letter["task"], letter["reason"]) == (poison.id, "poison", "delivery_limit")
    assert len(shop.events("poison")["start"]) == limit + 1
    for number in range(sent):
        wait_for(lambda n=number: shop.events(f"other-{n}")["end"], 60, f"other-{number}")
    print(f"dead after {limit + 1} deliveries in {seconds:.1f} s; meanwhile {sent} others ran")
    # Its cause removed, it does its work.
    assert send_back(shop, "--id", poison.id)["done"] == 1
    wait_for(lambda: len(shop.events("poison")["start"]) > limit + 1, 60, "another attempt")
    assert worker.stop(60) == 0


def test_letters_that_lead_nowhere_go_to_the_queue_that_is_named(shop: Vhost) -> None:
    """Their queue is gone, or with it the pool and the dead-letter queue that they are in."""
    former = "former_tasks_dead"
    arguments = {"x-queue-type": "quorum"}
    shop.management.call("PUT", "queues", shop.name, former, durable=True, arguments=arguments)
    publish(shop, DEAD, "cpu.gone", "lost")
    publish(shop, "", former, "one", "two")
    wait_for(lambda: shop.ready_messages(former) == 2, 60, "the letters of the former pool")
    assert send_back(shop, "--queue", DEAD)["done"] == 0
    found = dead(shop, "list", "--queue", former)
    assert found["queues"] == {former: {"total": 2, "selected": 2}}
    assert [letter["id"] for letter in found["letters"]] == ["one", "two"]
    unknown = shop.command("dead-letters", "send-back", "--policies-checked", "--all", "--to", "gone")
    assert unknown.returncode != 0
    assert "no pool has the queue gone" in unknown.stderr
    assert send_back(shop, "--queue", former, "--queue", DEAD, "--to", OTHER)["done"] == 3
    assert sorted(drain(shop, OTHER, 3)) == ["lost", "one", "two"]
    assert (shop.ready_messages(former), shop.ready_messages(DEAD)) == (0, 0)
    shop.management.call("DELETE", "queues", shop.name, former)
