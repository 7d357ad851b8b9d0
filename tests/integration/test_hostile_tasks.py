"""Tasks that end in ways that nobody meant: none ends its worker, keeps its slot, or has others run again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.vhost import Vhost, temporary_vhost, wait_for

QUEUE, DEAD = "general_background", "general_tasks_dead"
DELIVERIES = 2

FAIL = (
    "MemoryError",
    "a MemoryError of a library",
    "StopIteration",
    "GeneratorExit",
    "CancelledError",
    "an error without text",
    "an error with what cannot be sent",
    "a result that cannot be sent",
    "a result whose place holds garbage",
    "recursion",
)
# They would end a process, so they count as its loss: the task is delivered again, up to the queue's limit.
END_THEIR_PROCESS = (
    "SystemExit",
    "KeyboardInterrupt",
    "WorkerShutdown",
    "WorkerTerminate",
)


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers, whose queue gives a task up soon."""
    with temporary_vhost(tmp_path_factory.mktemp("h")) as vhost:
        dead = {
            "dead-letter-exchange": DEAD,
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        }
        vhost.policy(QUEUE, **{"delivery-limit": DELIVERIES}, **dead)
        yield vhost


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_task_takes_only_itself_down(vhost: Vhost, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    worker = vhost.worker(
        "general", "--pool", pool, "--concurrency", "3", "--prefetch-multiplier", "1"
    ).ready()
    app = vhost.client(monkeypatch)
    manners = [*FAIL, *END_THEIR_PROCESS]
    try:
        # A file for the result of the task, as two that write it at once may leave it.
        (vhost.directory / "results" / f"celery-task-meta-garbage-{pool}").write_text('{"status": "RETRY"}}')
        for manner in manners:
            more = {"task_id": f"garbage-{pool}"} if "garbage" in manner else {}
            app.send_task("misbehave", (manner,), queue=QUEUE, **more)
            app.send_task("work", (f"{manner} {pool}",), queue=QUEUE)
        ends = [f"{manner} {pool}" for manner in manners]
        try:
            wait_for(lambda: all(vhost.events(label)["end"] for label in ends), 60, "the end of the others")
            wait_for(lambda: vhost.ready_messages(DEAD) == len(END_THEIR_PROCESS), 60, "dead letters")
        except AssertionError as error:
            counts = {manner: len(vhost.events(manner)["start"]) for manner in manners}
            raise AssertionError(
                f"{error}; {counts}; {worker.state}; {worker.log.read_text()[-9000:]}"
            ) from error
        worker.reaches(active=[], reserved=0)
        assert vhost.ready_messages(QUEUE) == 0
        assert worker.systemd.count("READY=1") == 1, worker.log.read_text()[-3000:]
        assert worker.stop() == 0
    finally:
        vhost.purge(DEAD)
        vhost.purge(QUEUE)
