"""Prints a table of what routing a task costs, next to publishing it, with the middle of several rounds.

The broker is the one of the integration tests; the fleet in it is thrown away afterwards.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from support.vhost import temporary_vhost

ROUNDS = 9
ROUTES = 20_000
PUBLISHES = 200
NAME = "shop.orders.tasks.send_email_confirmation"


def microseconds(action: Callable[[int], object], count: int) -> float:
    """Measure the time of one of so many calls; each gets its number."""
    begin = time.perf_counter()
    for number in range(count):
        action(number)
    return (time.perf_counter() - begin) / count * 1e6


def measure(app: Celery) -> dict[str, float]:
    """Return microseconds by what was done."""
    router = app.amqp.router
    rules = router.rules
    numbers = iter(range(10**9))
    with app.producer_or_acquire() as producer:
        actions: dict[str, tuple[Callable[[int], object], int]] = {
            "rule, name seen before": (lambda _: rules.explain(NAME), ROUTES),
            "rule, new name": (lambda _: rules.explain(f"{NAME}{next(numbers)}"), ROUTES),
            "whole route, name seen before": (lambda _: router.route({}, NAME), ROUTES),
            "whole route, new name": (lambda _: router.route({}, f"{NAME}{next(numbers)}"), ROUTES),
            "publish, confirmed": (lambda _: app.send_task(NAME, producer=producer), PUBLISHES),
        }
        for action, _ in actions.values():
            microseconds(action, 10)
        rounds = [
            {what: microseconds(action, count) for what, (action, count) in actions.items()}
            for _ in range(ROUNDS)
        ]
    return {what: statistics.median(each[what] for each in rounds) for what in actions}


def main() -> None:
    """Measure in a fleet of its own, and print the table."""
    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as environment,
        temporary_vhost(Path(directory)) as vhost,
    ):
        figures = measure(vhost.client(environment))
    publish = figures["publish, confirmed"]
    print(f"{'':32} {'µs':>8} {'of a publish':>14}")
    for what, cost in figures.items():
        print(f"{what:32} {cost:8.2f} {cost / publish:14.3%}")


if __name__ == "__main__":
    main()
