"""Publishes the demo's tasks in three ways, and shows from the ledger where each ran.

`python -m demo.client --each 5 --wait 120` publishes each task five times in each way:

    queue   the publisher names the queue, as `@app.task(queue=…)` does for its task
    name    it knows only the task's name; the fleet's router finds the queue by its words
    hint    it says what the task needs: `headers=celery_fleet.hint("io")`
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from amqp.exceptions import AMQPError
from celery import Celery
from celery.signals import after_task_publish
from kombu import Exchange
from kombu.exceptions import KombuError

import celery_fleet
from demo.app import app
from demo.outside import request_json

WAYS = ("queue", "name", "hint")


@dataclass(frozen=True)
class Job:
    """One of the demo's tasks, as this client uses it.

    Args:
        task: Its name.
        queue: The queue that this client asks for; None where the task's own code names one.
        pool: The kind of pool that it belongs in, which is its hint.
        arguments: What it is called with.
    """

    task: str
    queue: str | None
    pool: str
    arguments: Sequence[Any]


@dataclass(frozen=True)
class Sent:
    """A published task, with where its message really went."""

    id: str
    task: str
    way: str
    pool: str
    exchange: str
    routing_key: str


@dataclass(frozen=True)
class Row:
    """How the tasks of one kind, published in one way, ran on one node; times in milliseconds."""

    task: str
    way: str
    routing_key: str
    host: str
    node: str
    count: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Args:
        rows: Where the tasks ran.
        hosts: How many ran on each host.
        missing: Published, but not in the ledger.
        misplaced: Ran in a pool of another kind than their own.
        repeated: Recorded more than once, which at-least-once delivery allows.
    """

    rows: list[Row]
    hosts: dict[str, int]
    missing: list[Sent]
    misplaced: list[Sent]
    repeated: int


def jobs(run: str, number: int, sink: str) -> list[Job]:
    """Return the eight tasks with arguments of their own.

    Args:
        run: Id of the run.
        number: Which repetition of the run.
        sink: Address of the HTTP sink, e.g. `http://10.0.0.5:8025`.
    """
    name = f"{run}-{number}"
    points, events = f"points-{number % 3}", f"samples/events-{number % 3}.csv"
    payload = {"run": run, "number": number}
    return [
        Job("demo.tasks.cpu.train_model", None, "cpu", [name, f"samples/{points}.csv"]),
        Job("demo.tasks.cpu.process_video", None, "cpu", [name]),
        Job("demo.tasks.cpu.analyze_dataset", None, "cpu", [points]),
        Job("demo.tasks.io.call_external_api", "io_api_calls", "io", [f"{sink}/echo", payload]),
        Job("demo.tasks.io.upload_file", "io_file_operations", "io", [events, f"uploads/{name}.csv"]),
        Job(
            "demo.tasks.io.send_email",
            "io_email_sending",
            "io",
            ["ops@example.org", f"Run {name}", "It ran."],
        ),
        Job(
            "demo.tasks.memory.aggregate_user_data",
            "memory_aggregations",
            "memory",
            [["2025-01-01", "2025-01-31"]],
        ),
        Job("demo.tasks.memory.import_large_csv", "memory_large_imports", "memory", [events]),
    ]


def publish(run: str, each: int, sink: str) -> Iterator[Sent]:
    """Publish each task in each way, and print where the message of each went.

    Args:
        run: Id of the run.
        each: How many times.
        sink: Address of the HTTP sink.

    Raises:
        kombu.exceptions.KombuError: The broker refused a task, or wasn't reached.
        amqp.exceptions.AMQPError: No queue takes the task, or the user may not publish it.
    """
    # A publisher as another service would be one: in the fleet, but without the tasks' code.
    stranger = Celery("demo-client")
    celery_fleet.configure(stranger)
    targets: dict[str, tuple[str, str]] = {}

    def note(headers: Mapping[str, Any], exchange: Exchange | str, routing_key: str, **_: object) -> None:
        targets[headers["id"]] = (exchange if isinstance(exchange, str) else exchange.name, routing_key)

    after_task_publish.connect(note)
    app.loader.import_default_modules()
    for number in range(each):
        for job in jobs(run, number, sink):
            for way in WAYS:
                if way == "queue":
                    options = {"queue": job.queue} if job.queue else {}
                    result = app.tasks[job.task].apply_async(job.arguments, **options)
                elif way == "name":
                    result = stranger.send_task(job.task, job.arguments)
                else:
                    result = stranger.send_task(job.task, job.arguments, headers=celery_fleet.hint(job.pool))
                exchange, routing_key = targets.pop(result.id)
                yield Sent(result.id, job.task, way, job.pool, exchange, routing_key)


def await_records(sink: str, start: int, wanted: Iterable[str], timeout: float) -> list[dict[str, Any]]:
    """Return the ledger's records of some tasks, as soon as it has all of them.

    Args:
        sink: Address of the HTTP sink.
        start: How many records to leave out.
        wanted: Ids of the tasks.
        timeout: Seconds to wait; then what there is is returned.
    """
    ids = set(wanted)
    deadline = time.monotonic() + timeout
    records: list[dict[str, Any]] = []
    while not ids <= {record["id"] for record in records} and (left := deadline - time.monotonic()) > 0:
        query = f"after={start + len(records)}&wait={min(left, 10):.1f}"
        records += request_json(f"{sink}/ledger?{query}", timeout=30)
    return [record for record in records if record["id"] in ids]


def report(sent: Sequence[Sent], records: Sequence[Mapping[str, Any]]) -> Report:
    """Join what was published with what the ledger says.

    Args:
        sent: What was published.
        records: The ledger's records of it.
    """
    ran = {record["id"]: record for record in records}
    groups: dict[tuple[str, str, str, str, str], list[float]] = {}
    for item in sent:
        if record := ran.get(item.id):
            key = (item.task, item.way, item.routing_key, record["host"], record["node"])
            groups.setdefault(key, []).append(1000 * record["seconds"])
    return Report(
        rows=[Row(*key, len(times), *percentiles(times)) for key, times in groups.items()],
        hosts=dict(Counter(record["host"] for record in ran.values())),
        missing=[item for item in sent if item.id not in ran],
        misplaced=[item for item in sent if item.id in ran and ran[item.id]["pool"] != item.pool],
        repeated=len(records) - len(ran),
    )


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile, rounded to a tenth."""
    if len(times) == 1:
        return round(times[0], 1), round(times[0], 1)
    cuts = statistics.quantiles(times, n=20, method="inclusive")
    return round(cuts[9], 1), round(cuts[18], 1)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a text table; numbers stand to the right.

    Args:
        heads: The columns' heads.
        rows: The cells of each row.
    """
    lines = [list(heads), *([str(cell) for cell in row] for row in rows)]
    numbers = [
        len(lines) > 1 and all(line[column].replace(".", "", 1).isdigit() for line in lines[1:])
        for column in range(len(heads))
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in lines
    )


def show(outcome: Report) -> str:
    """Return a report as a person reads it."""
    rows = (
        (
            row.task.rpartition(".")[2],
            row.way,
            row.routing_key,
            row.host,
            row.node,
            row.count,
            row.p50,
            row.p95,
        )
        for row in outcome.rows
    )
    parts = [
        table(("task", "way", "routing key", "host", "node", "count", "p50 ms", "p95 ms"), rows),
        table(("host", "tasks"), sorted(outcome.hosts.items())),
    ]
    if outcome.repeated:
        parts.append(f"{outcome.repeated} were recorded more than once")
    for fault, items in (
        ("not in the ledger", outcome.missing),
        ("ran in another kind of pool", outcome.misplaced),
    ):
        if items:
            cells = ((item.id, item.task, item.way, item.exchange, item.routing_key) for item in items)
            parts.append(
                f"{len(items)} {fault}:\n" + table(("id", "task", "way", "exchange", "routing key"), cells)
            )
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish, wait and report as the command line says.

    Returns:
        0; 1 if a task was refused, missing from the ledger, or in the wrong pool.
    """
    parser = argparse.ArgumentParser(prog="python -m demo.client", description="Publish the demo's tasks.")
    parser.add_argument(
        "--each", type=int, default=1, metavar="N", help="times that each task goes out in each way"
    )
    parser.add_argument(
        "--wait", type=float, metavar="S", help="wait S seconds at most until the ledger has all of them"
    )
    parser.add_argument(
        "--sink",
        default=os.environ.get("DEMO_SINK_URL"),
        required="DEMO_SINK_URL" not in os.environ,
        help="address of the HTTP sink (default: DEMO_SINK_URL)",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    options = parser.parse_args(arguments)

    run = uuid4().hex[:8]
    start = request_json(f"{options.sink}/summary", timeout=30)["records"]
    sent: list[Sent] = []
    try:
        for item in publish(run, options.each, options.sink):
            sent.append(item)
    except (KombuError, AMQPError, OSError) as error:
        print(
            f"after {len(sent)} tasks the next was refused: {type(error).__name__}: {error}", file=sys.stderr
        )
        return 1
    counts = Counter((item.task, item.way, item.exchange, item.routing_key) for item in sent)
    if options.wait is None:
        if options.json:
            print(json.dumps({"run": run, "sent": [asdict(item) for item in sent]}))
        else:
            print(
                table(
                    ("task", "way", "exchange", "routing key", "count"),
                    ((*key, n) for key, n in counts.items()),
                )
            )
        return 0

    records = await_records(options.sink, start, [item.id for item in sent], options.wait)
    outcome = report(sent, records)
    print(json.dumps({"run": run, **asdict(outcome)}) if options.json else show(outcome))
    return 1 if outcome.missing or outcome.misplaced else 0


if __name__ == "__main__":
    sys.exit(main())
