"""Publishes numbered tasks of one kind, each until the broker has confirmed it, and writes down which.

`python -m load.publish RUN compute --rate 25 --least 5000` goes on until it is told to stop (SIGTERM) and has
published that many.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence

from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from load.app import app
from load.tasks import KINDS, record

PAUSE = 0.2
"""Seconds between two tries of one task."""


def publish(run: str, kind: str, number: int) -> dict[str, object]:
    """Publish one task, as often as it takes.

    What is in the way of a try is counted, also when Celery itself tries again: a task that runs twice
    then tells why, namely that its first try was stored although nobody could say so.

    Args:
        run: Id of the run.
        kind: Which task.
        number: Its number.

    Returns:
        What there is to write down.
    """
    begun, errors = time.time(), Counter[str]()

    def note(error: BaseException, _pause: float = 0) -> None:
        errors[type(error).__name__] += 1

    while True:
        try:
            result = app.tasks[f"load.{kind}"].apply_async((run, number), retry_policy={"errback": note})
        except (KombuError, AMQPError, OSError) as error:
            note(error)
            time.sleep(PAUSE)
        else:
            return {
                "kind": kind,
                "number": number,
                "id": result.id,
                "begun": begun,
                "at": time.time(),
                "errors": dict(errors),
            }


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m load.publish", description="Publish numbered tasks.")
    parser.add_argument("run", help="id of the run")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--rate", type=float, default=25, metavar="N", help="tasks a second")
    parser.add_argument("--least", type=int, default=0, metavar="N", help="tasks before a signal stops it")
    options = parser.parse_args(arguments)

    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    start, number = time.monotonic(), 0
    while not (stopping and number >= options.least):
        record(options.run, f"sent-{options.kind}.jsonl", publish(options.run, options.kind, number))
        number += 1
        time.sleep(max(0, start + number / options.rate - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
