"""Threads of a process that was forked: none goes on with what another is about to drop."""

from __future__ import annotations

import threading

import pytest

from celery_fleet.publishing import forks


def test_threads_that_notice_a_fork_together_wait_for_the_one_that_forgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, release, calls = threading.Event(), threading.Event(), []

    def drop() -> None:
        calls.append(1)
        inside.set()
        assert release.wait(60)

    monkeypatch.setattr(forks, "_process", -1)
    monkeypatch.setattr(forks, "_apps", set())
    monkeypatch.setattr(forks, "drop_inherited", drop)
    first, second = (threading.Thread(target=forks.look, daemon=True) for _ in range(2))
    first.start()
    assert inside.wait(60)
    second.start()
    # Long enough for one that would not wait.
    second.join(0.3)
    waited, dropped = second.is_alive(), len(calls)
    release.set()
    first.join(60)
    second.join(60)
    assert (waited, dropped, len(calls)) == (True, 1, 1)
    assert not second.is_alive()
