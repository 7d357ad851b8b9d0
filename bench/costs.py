"""What it costs a worker to count a task, or to send events of it.

A worker with one process runs tasks that do nothing, at the broker that CELERY_FLEET_TEST_BROKER names. Its
main process, which is what one worker cannot share out, looks at the processor's clock around each call.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Final

import pytest
from support.vhost import temporary_vhost, wait_for

POOL: Final = "general"
QUEUE: Final = "general_background"
PATIENCE_S: Final = 1800
BLOCK: Final = 500
# Blocks that are also of the worker's start.
FIRST: Final = 2


def blocks(of: str, count: int) -> list[tuple[float, float]]:
    """Run blocks of tasks, and return the processor time of each and that of what is looked at, in seconds.

    Args:
        of: What is looked at, ``counters`` or ``events``.
        count: How many blocks.
    """
    with (
        tempfile.TemporaryDirectory() as place,
        temporary_vhost(Path(place)) as vhost,
        pytest.MonkeyPatch.context() as patch,
    ):
        counters, ledger = Path(place, "counters"), Path(place, "blocks")
        counters.mkdir()
        ledger.touch()
        worker = vhost.worker(
            POOL,
            *("--pool", "prefork", "--concurrency", "1", "--prefetch-multiplier", "10"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
            *(["--task-events"] if of == "events" else []),
            app="bench.nothing",
            environment={
                "BENCH_OF": of,
                "BENCH_BLOCK": str(BLOCK),
                "BENCH_LEDGER": str(ledger),
                "CELERY_FLEET_COUNTERS": str(counters),
                "CELERY_FLEET_INSTANCE": "1.0_abcdef01_1",
            },
        )
        worker.ready()
        app = vhost.client(patch)
        with app.producer_or_acquire() as producer:
            for _ in range((FIRST + count) * BLOCK):
                app.send_task("bench.nothing", queue=QUEUE, producer=producer)

        def taken() -> list[tuple[float, ...]]:
            return [tuple(map(float, line.split())) for line in ledger.read_text().splitlines()]

        wait_for(lambda: len(taken()) >= FIRST + count, PATIENCE_S, "the end of all tasks")
        ends = taken()[FIRST - 1 : FIRST + count]
        return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(ends)]


def main() -> None:
    """Run blocks, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("of", choices=["counters", "events"], help="what is looked at")
    parser.add_argument("--blocks", type=int, default=20, help="blocks of tasks (default: 20)")
    options = parser.parse_args()
    found = blocks(options.of, options.blocks)
    whole, within = (statistics.median(column) / BLOCK * 1e6 for column in zip(*found, strict=True))
    shares = statistics.quantiles((part / all_ for all_, part in found), n=4)
    print(
        f"{len(found)} blocks of {BLOCK} tasks: {whole:.0f} µs of the main process for a task, "
        f"{within:.1f} µs of it for {options.of}: {shares[1]:.2%} "
        f"(half of the blocks {shares[0]:.2%} to {shares[2]:.2%})"
    )


if __name__ == "__main__":
    main()
