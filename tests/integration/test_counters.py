"""What workers count is what the ledger of the tasks says, across a kill and a rollover."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fleet.host import counters
from fleet.host.metrics import STATES
from support.vhost import Vhost, Worker, temporary_vhost, wait_for

QUEUE = "general_background"
pytestmark = pytest.mark.usefixtures("alone")

# Tasks of a kind at a time.
LOAD = 80
GOOD, BAD, HELD = "shop.send_email", "shop.train_badly", "hold"


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """A fleet without other workers."""
    with temporary_vhost(tmp_path_factory.mktemp("c")) as vhost:
        yield vhost


def worker(vhost: Vhost, directory: Path, number: int, kind: str) -> Worker:
    """Start the worker of that number of the pool."""
    return vhost.worker(
        "general",
        *("--pool", kind, "--concurrency", "2", "--prefetch-multiplier", "4"),
        environment={
            "CELERY_FLEET_COUNTERS": str(directory),
            "CELERY_FLEET_INSTANCE": f"1.0_abcdef01_{number}",
        },
    )


def test_no_execution_is_missing_and_none_counts_twice(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = vhost.client(monkeypatch)

    def send(*names: str, times: int = 1) -> None:
        with app.producer_or_acquire() as producer:
            for name in names * times:
                arguments = ("killed",) if name == HELD else ()
                app.send_task(name, arguments, queue=QUEUE, producer=producer)

    def ledger() -> Counter[str]:
        return Counter(name for name, *_ in vhost.deliveries() if not name.startswith("celery_fleet."))

    killed = worker(vhost, tmp_path, 1, "prefork").ready()
    send(GOOD, GOOD, GOOD, BAD, times=LOAD)
    send(HELD, HELD)
    send(GOOD, BAD, times=LOAD // 4)
    # Both slots are held then, so the worker has been told of all ends before.
    wait_for(lambda: len(vhost.events("killed")["start"]) == 2, 120, "the start of what is held")
    children = [pid for _, pid in vhost.events("killed")["start"]]
    killed.process.kill()
    killed.process.wait()
    for child in children:  # as systemd does
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    before, errors = counters.read(tmp_path)
    assert errors == 0
    assert sum(before["queue", QUEUE][: len(STATES)]) == ledger().total() - 2

    old = worker(vhost, tmp_path, 1, "threads").ready()
    vhost.release("killed")
    new = worker(vhost, tmp_path, 2, "gevent").ready()
    send(GOOD, BAD, times=LOAD)
    assert old.stop() == 0
    send(GOOD, times=LOAD)
    sent = Counter({GOOD: 5 * LOAD + LOAD // 4, BAD: 2 * LOAD + LOAD // 4, HELD: 2})
    wait_for(lambda: ledger().total() >= sent.total() + 2, 120, "the end of the load")
    assert new.stop() == 0

    ran, (figures, errors) = ledger(), counters.read(tmp_path)
    assert errors == 0
    assert ran >= sent
    assert ran[HELD] == 4
    states = {
        name: dict(zip(STATES, figures["task", name][: len(STATES)], strict=True))
        for name in (GOOD, BAD, HELD)
    }
    nothing = dict.fromkeys(STATES, 0)
    assert states == {
        GOOD: nothing | {"success": ran[GOOD]},
        BAD: nothing | {"failure": ran[BAD]},
        HELD: nothing | {"success": 2},
    }
    assert figures["failure", BAD, "exception", "RuntimeError"] == [ran[BAD]]
    again, skewed, waited, *waits = figures["queue", QUEUE][len(STATES) :]
    assert again >= 2
    assert again + sum(waits) == ran.total()
    assert (skewed, waited > 0) == (0, True)
    pool = dict(zip(counters.POOL, figures["pool",], strict=False))
    assert pool["task_prefetch_seconds_count"] == ran.total()
    assert 0 < pool["busy_seconds_total"] < pool["slot_seconds_total"]
