from __future__ import annotations

from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError, WorkerLostError

from celery_fleet.worker.gate import Ending, Gate


class Request:
    """As much of a request as the gate sees."""

    time_start = None
    _already_revoked = False

    def on_success(self, result: object, **_: object) -> None:
        """End well, or by an exception of the task."""

    def on_failure(self, info: object) -> None:
        """End with the process."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Exceed a limit."""


def requests(count: int) -> list[Any]:
    return [Request() for _ in range(count)]


def raised(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def test_no_more_run_than_there_are_slots_and_the_rest_can_be_had_back() -> None:
    started: list[Any] = []
    gate = Gate(started.append)
    sent = requests(6)
    for request in sent:
        gate.submit(request)
    assert (started, gate.waiting) == ([], 6)
    gate.set(slots=2, is_open=True)
    assert started == sent[:2]
    sent[0].on_success((0, None, 1.0))
    assert started == sent[:3]
    gate.set(slots=1, is_open=True)
    sent[1].on_success((0, None, 1.0))
    assert started == sent[:3]
    gate.set(slots=2, is_open=False)
    assert gate.withdraw() == sent[3:]
    assert gate.running == [sent[2]]
    sent[2].on_failure(raised(WorkerLostError()))
    assert gate.running == []
    assert "on_success" not in vars(sent[2])


def test_a_request_that_must_not_run_frees_its_slot_and_counts() -> None:
    def start(request: Any) -> None:
        if request is first:
            raise TaskRevokedError
        started.append(request)

    started: list[Any] = []
    ends: list[Any] = []
    first, second = requests(2)
    gate = Gate(start, lambda *end: ends.append(end))
    gate.set(slots=1, is_open=True)
    gate.submit(first)
    gate.submit(second)
    assert started == [second]
    assert ends == [(first, Ending("REVOKED", 0.0))]


@pytest.mark.parametrize(
    ("how", "result", "state", "failed"),
    [
        ("on_success", (0, "result", 1.5), "SUCCESS", False),
        ("on_success", (1, raised(ValueError()), 1.5), "FAILURE", True),
        ("on_success", (1, raised(Retry()), 1.5), "RETRY", False),
        ("on_success", (1, raised(Ignore()), 1.5), "IGNORED", False),
        ("on_failure", raised(Reject()), "REJECTED", False),
        ("on_failure", raised(WorkerLostError()), "FAILURE", True),
        ("on_timeout", False, "FAILURE", True),
    ],
)
def test_each_end_is_told_once(how: str, result: Any, state: str, failed: bool) -> None:
    ended: list[Any] = []
    gate = Gate(lambda _: None, lambda _, ending: ended.append(ending))
    gate.set(slots=1, is_open=True)
    (request,) = requests(1)
    gate.submit(request)
    request.on_timeout(True, 3)
    assert ended == []
    handler = getattr(request, how)
    handler(*((result, 3) if how == "on_timeout" else (result,)))
    handler(*((result, 3) if how == "on_timeout" else (result,)))
    assert [(ending.state, ending.failed) for ending in ended] == [(state, failed)]
    assert ended[0].lost == (how == "on_failure" and failed)
    if how == "on_success":
        assert ended[0].runtime == 1.5


@pytest.mark.parametrize("error", [WorkerLostError(), SystemExit(), ValueError()])
@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_task_whose_end_cannot_be_recorded_is_settled(error: Any, acknowledged: bool) -> None:
    def break_down(_: object) -> None:
        raise ConnectionError("no result backend")

    settled: list[Any] = []
    gate = Gate(lambda _: None, lambda *_: None, lambda *told: settled.append(told))
    gate.set(slots=1, is_open=True)
    (request,) = requests(1)
    request.acknowledged = acknowledged
    break_down.__name__ = "on_failure"
    request.on_failure = break_down
    gate.submit(request)
    if acknowledged:
        with pytest.raises(ConnectionError):
            request.on_failure(raised(error))
        assert settled == []
    else:
        request.on_failure(raised(error))
        assert [(given, again) for given, _, again in settled] == [
            (request, not isinstance(error, ValueError))
        ]
    assert gate.running == []


def test_what_celery_would_end_the_worker_for_is_a_failure_of_the_task() -> None:
    given: list[ExceptionInfo] = []

    def note(failure: ExceptionInfo) -> None:
        given.append(failure)

    ended: list[Any] = []
    gate = Gate(lambda _: None, lambda _, ending: ended.append(ending))
    gate.set(slots=1, is_open=True)
    (request,) = requests(1)
    note.__name__ = "on_failure"
    request.on_failure = note
    gate.submit(request)
    request.on_failure(raised(MemoryError("1 TiB")))
    assert [str(failure.exception) for failure in given] == ["MemoryError: 1 TiB"]
    assert not isinstance(given[0].exception, MemoryError)
    assert [(ending.state, ending.lost) for ending in ended] == [("FAILURE", False)]
