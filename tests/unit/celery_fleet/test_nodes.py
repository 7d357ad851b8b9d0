"""In which order a process tries the broker's nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.worker_parts import Clock

from celery_fleet import nodes
from celery_fleet.connection import connect

URLS = [f"fleet://client@{node}:5672/shop" for node in ("10.0.0.1", "10.0.0.2", "[fd00::3]")]


def order() -> list[str]:
    return list(connect(URLS).alt)


def test_a_node_that_was_lost_is_the_last_choice_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(nodes, "_suspects", {})
    usual = order()
    for lost in usual:
        node: Any = connect([lost])
        nodes.suspect(node)
        assert order() == [*(url for url in usual if url != lost), lost]
        clock.forward(nodes.SUSPECT_FOR)
        assert order() == usual
