from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import ApplyResult
from kombu.utils.imports import symbol_by_name

from celery_fleet.worker.slots import FleetAutoscaler


class Pool:
    """As much of a pool of processes as an autoscaler sees."""

    def __init__(self, *jobs: ApplyResult) -> None:
        self._pool = SimpleNamespace(_cache=dict(enumerate(jobs)))
        self.num_processes = 6

    def shrink(self, n: int) -> None:
        self.num_processes -= n


def job(accepted: bool) -> ApplyResult:
    result = ApplyResult({}, None)
    if accepted:
        result._ack(0, 0.0, 4711, None)
    return result


@pytest.mark.parametrize(
    ("accepted", "left"), [((), 2), ((True, True), 2), ((True, False), 6), ((False,), 6)]
)
def test_no_process_goes_while_a_task_is_on_its_way_to_one(accepted: tuple[bool, ...], left: int) -> None:
    pool = Pool(*map(job, accepted))
    fitted: list[int] = []
    consumer = SimpleNamespace(slots=SimpleNamespace(fit_gate=lambda: fitted.append(pool.num_processes)))
    worker = SimpleNamespace(consumer=consumer)
    scaler: Any = FleetAutoscaler(
        pool, max_concurrency=6, min_concurrency=2, worker=worker, mutex=SimpleNamespace()
    )
    scaler._shrink(4)
    assert pool.num_processes == left
    assert fitted == [left] * (left < 6)


def test_workers_use_it_unless_the_application_has_its_own(make_app: Any) -> None:
    assert symbol_by_name(make_app("cpu").conf.worker_autoscaler) is FleetAutoscaler
    assert make_app("cpu", worker_autoscaler="shop:Scaler").conf.worker_autoscaler == "shop:Scaler"
