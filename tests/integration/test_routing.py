"""Whatever way a task is called, it comes out of the queue that the rules name; clients and workers
have no more rights than they have in production."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, beat, chain, chord, group
from celery.beat import Scheduler
from support.vhost import Vhost, Worker, wait_for

import celery_fleet
from celery_fleet.minors import PERIODIC_HEADER

# Task, exchange, routing key and pool, as the guide has them.
TRAIN = ("shop.train_model", "cpu_tasks", "cpu.ml", "cpu")
ANALYZE = ("shop.analyze_dataset", "cpu_tasks", "cpu.analysis", "cpu")
TRAIN_BADLY = ("shop.train_badly", "cpu_tasks", "cpu.analysis", "cpu")
CALL = ("shop.call_external_api", "io_tasks", "io.api", "io")
EMAIL = ("shop.send_email", "io_tasks", "io.email", "io")
EMAIL_FAILURE = ("shop.email_failure", "io_tasks", "io.email", "io")
UPLOAD = ("shop.upload_file", "io_tasks", "io.file", "io")
AGGREGATE = ("shop.aggregate_user_data", "memory_tasks", "memory.aggregate", "memory")
IMPORT = ("shop.import_large_csv", "memory_tasks", "memory.import", "memory")
SYNC = ("shop.sync", "memory_tasks", "memory.aggregate", "memory")
TIDY = ("shop.tidy_up", "general_tasks", "general.background", "general")
TIDY_REGULARLY = ("shop.tidy_up", "general_tasks", "general.scheduled", "general")
UNLOCK = ("celery.chord_unlock", "general_tasks", "general.background", "general")
CALL_OTHERS = ("shop.call_others", "general_tasks", "general.background", "general")

DELAYED = "celery_delayed_delivery"


class Calls:
    """A client's application, and what was delivered since it was made."""

    def __init__(self, vhost: Vhost, app: Celery) -> None:
        self.vhost, self.app, self.since = vhost, app, time.time()

    def task(self, name: str, *arguments: object, **options: object) -> Any:
        return self.app.signature(f"shop.{name}", arguments, immutable=True, **options)

    def delivered(self, count: int, seconds: float = 60) -> list[tuple[str, str, str, str]]:
        """Wait for so many deliveries, each as if it had come without a delay."""

        def all_of_them() -> list[tuple[str, str, str, str]] | None:
            found = self.vhost.deliveries(self.since)
            return found if len(found) >= count else None

        found = wait_for(
            all_of_them, seconds, f"{count} deliveries, only {self.vhost.deliveries(self.since)}"
        )
        assert len(found) == count
        return [_without_delay(*each) for each in found]


def _without_delay(task: str, exchange: str, key: str, pool: str) -> tuple[str, str, str, str]:
    if exchange == DELAYED:
        # Behind the delay, one bit a word, is the key; that of a pool begins with the pool's name.
        bits, key = key.split(".")[:28], key.split(".", 28)[-1]
        assert set(bits) <= {"0", "1"}
        exchange = f"{key.partition('.')[0]}_tasks"
    return task, exchange, key, pool


@pytest.fixture
def calls(vhost: Vhost, fleet: dict[str, Worker], monkeypatch: pytest.MonkeyPatch) -> Calls:
    app = vhost.client(monkeypatch)
    app.conf.update(result_backend=vhost.results, task_ignore_result=False)
    return Calls(vhost, app)


def test_a_chain_goes_from_pool_to_pool(calls: Calls) -> None:
    names = ("train_model", "send_email", "aggregate_user_data", "tidy_up")
    chain(*map(calls.task, names)).apply_async()
    assert calls.delivered(4) == [TRAIN, EMAIL, AGGREGATE, TIDY]


def test_a_chain_with_a_delay_stays_on_its_way(calls: Calls) -> None:
    chain(calls.task("train_model"), calls.task("send_email")).apply_async(countdown=1)
    assert calls.delivered(2) == [TRAIN, EMAIL]


def test_the_tasks_of_a_group_part(calls: Calls) -> None:
    group(map(calls.task, ("upload_file", "import_large_csv", "analyze_dataset", "tidy_up"))).apply_async()
    assert Counter(calls.delivered(4)) == Counter([UPLOAD, IMPORT, ANALYZE, TIDY])


def test_a_chord_is_looked_after_in_the_default_queue(calls: Calls) -> None:
    header = [calls.task("call_external_api", n) for n in range(3)]
    result = chord(header)(calls.app.signature("shop.aggregate_user_data"))
    assert result.get(timeout=20) == "['0', '1', '2']"
    found = Counter(_without_delay(*each) for each in calls.vhost.deliveries(calls.since))
    assert found.pop(UNLOCK) >= 1
    assert found == Counter([CALL, CALL, CALL, AGGREGATE])


def test_a_chord_within_a_chain_starts_from_a_worker(calls: Calls) -> None:
    header = group(calls.task("call_external_api", 1), calls.task("train_model", 2))
    chain(calls.task("tidy_up"), header, calls.app.signature("shop.send_email", queue="io_email_sending"))()
    wait_for(lambda: EMAIL in calls.vhost.deliveries(calls.since), 60, "the chord's body")
    found = Counter(_without_delay(*each) for each in calls.vhost.deliveries(calls.since))
    assert found.pop(UNLOCK) >= 1
    assert found == Counter([TIDY, CALL, TRAIN, EMAIL])


def test_links_go_their_own_ways(calls: Calls) -> None:
    calls.task("train_model").apply_async(link=calls.task("send_email"))
    assert calls.delivered(2) == [TRAIN, EMAIL]


def test_links_of_failures_too(calls: Calls) -> None:
    calls.task("train_badly").apply_async(link_error=calls.app.signature("shop.email_failure"))
    assert calls.delivered(2) == [TRAIN_BADLY, EMAIL_FAILURE]


@pytest.mark.parametrize("countdown", [0, 1])
def test_a_retry_comes_back_to_its_queue(calls: Calls, countdown: float) -> None:
    fetch = ("shop.fetch_again", "io_tasks", "io.api", "io")
    calls.task("fetch_again", countdown).apply_async()
    assert calls.delivered(3) == [fetch] * 3


def test_a_retry_stays_in_a_queue_that_its_publisher_chose(calls: Calls) -> None:
    fetch = ("shop.fetch_again", "memory_tasks", "memory.import", "memory")
    calls.task("fetch_again", 1).apply_async(queue="memory_large_imports", countdown=1)
    assert calls.delivered(3) == [fetch] * 3


def test_delays_do_not_change_the_way(calls: Calls) -> None:
    calls.task("send_email").apply_async(countdown=1)
    calls.task("train_model").apply_async(eta=calls.app.now() + timedelta(seconds=2))
    calls.task("sync").apply_async(countdown=1)
    calls.task("tidy_up").apply_async(countdown=1, headers=celery_fleet.hint("memory"))
    hinted = ("shop.tidy_up", "memory_tasks", "memory.aggregate", "memory")
    # A client that knows a task only by its name does not know its `resource`.
    sync = ("shop.sync", "general_tasks", "general.background", "general")
    assert Counter(calls.delivered(4)) == Counter([EMAIL, TRAIN, sync, hinted])
    assert {exchange for _, exchange, _, _ in calls.vhost.deliveries(calls.since)} == {DELAYED}


def test_hints_and_queues_win_over_names(calls: Calls) -> None:
    calls.task("train_model").apply_async(headers=celery_fleet.hint("io"))
    calls.task("train_model").apply_async(headers=celery_fleet.hint("io"), queue="io_email_sending")
    assert Counter(calls.delivered(2)) == Counter(
        [
            ("shop.train_model", "io_tasks", "io.api", "io"),
            ("shop.train_model", "io_tasks", "io.email", "io"),
        ]
    )


@pytest.mark.minors
def test_a_worker_calls_tasks_of_other_pools(calls: Calls) -> None:
    calls.task("call_others", ["shop.train_model", "shop.send_email", "shop.sync"]).apply_async()
    assert Counter(calls.delivered(4)) == Counter([CALL_OTHERS, TRAIN, EMAIL, SYNC])


def test_the_work_of_chunks_is_that_of_their_task(calls: Calls) -> None:
    def send_email(recipient: int) -> None:
        """Only its name matters to a client."""

    calls.app.task(send_email, name="shop.send_email", shared=False)
    calls.app.tasks["shop.send_email"].chunks([(1,), (2,), (3,)], 2).apply_async()
    assert calls.delivered(2) == [("celery.starmap", "io_tasks", "io.email", "io")] * 2


@pytest.mark.skipif(
    PERIODIC_HEADER not in inspect.getsource(beat), reason="Celery's own scheduler marks nothing before 5.7"
)
def test_beats_tasks_come_from_the_queue_of_periodic_ones(calls: Calls) -> None:
    scheduler = Scheduler(app=calls.app, lazy=True)
    for name in ("shop.tidy_up", "shop.aggregate_user_data"):
        scheduler.apply_async(scheduler.Entry(name=name, task=name, schedule=60, app=calls.app))
    assert Counter(calls.delivered(2)) == Counter([TIDY_REGULARLY, AGGREGATE])


@pytest.fixture
def empty_delays(vhost: Vhost) -> Iterator[None]:
    """Takes back what a test has delayed."""
    yield
    for level in range(28):
        vhost.management.call("DELETE", "queues", vhost.name, f"celery_delayed_{level}", "contents")


def test_delayed_tasks_hold_no_slot(
    calls: Calls, fleet: dict[str, Worker], empty_delays: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty of them, with a prefetch window of one."""
    vhost, queue = calls.vhost, "memory_aggregations"
    delayed_ids = {calls.task("aggregate_user_data", n).apply_async(countdown=60).id for n in range(30)}
    wait_for(lambda: vhost.ready_messages("celery_delayed_5") == 30, 60, "the tasks in the queue of 32 s")
    calls.task("sync").apply_async(queue=queue)
    assert calls.delivered(1) == [SYNC]

    inspect = vhost.client(monkeypatch, pool="general").control.inspect(timeout=2)
    held = {
        task["id"]
        for state in (inspect.reserved(), inspect.active())
        for tasks in state.values()
        for task in tasks
    }
    assert not held & delayed_ids
    assert not any(inspect.scheduled().values())
    # The broker's own statistics are some seconds old: these know of the thirty tasks.
    delayed = ("queues", vhost.name, "celery_delayed_5")
    wait_for(lambda: vhost.management.call("GET", *delayed).get("messages") == 30, 60, "the broker's count")
    consumed = ("queues", vhost.name, queue)
    wait_for(
        lambda: vhost.management.call("GET", *consumed)["messages_unacknowledged"] == 0,
        60,
        "the end of the only task that was delivered",
    )
