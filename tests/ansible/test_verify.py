"""The table of `verify`, for what is not an answer too."""

from __future__ import annotations

from typing import Any

from ansible_collections.celery_fleet.kit.plugins.filter.verify import verify_faults, verify_table

FAULT = "the broker sent it back: NO_ROUTE"


def answer(queue: str, **more: Any) -> dict[str, Any]:
    base = dict.fromkeys(("pool", "host", "node", "milliseconds", "fault"))
    return base | {"queue": queue, "exchange": "io_tasks", "expected_pool": "io"} | more


def test_a_canary_that_could_not_be_published_has_its_line_and_its_fault():
    result = {
        "answers": [
            answer("ran", pool="io", node="io_worker_2@one", milliseconds=12.4),
            answer("refused", fault=FAULT),
        ],
        "missing": ["silent"],
        "dead_letters": {"io_tasks_dead": 0},
    }
    lines = [line.split() for line in verify_table(result).splitlines()]
    assert ["ran", "io_tasks", "io", "io_worker_2@one", "12"] in lines
    assert ["refused", "io_tasks", "?", "?"] in lines
    assert ["silent", "NO", "ANSWER"] in lines
    plan = {"pools": {"io": {"node": "io_worker@one", "queues": ["ran", "refused", "silent"]}}}
    faults = verify_faults(result, [plan])
    assert len(faults) == 2
    assert f"refused: {FAULT}" in faults


def test_a_host_that_a_limit_leaves_out_answers_for_its_own_pool_only():
    result = {
        "answers": [answer("ran", node="io_worker_2@two"), answer("strayed", node="cpu_worker_1@two")],
        "missing": [],
        "dead_letters": {},
    }
    plan = {"pools": {"io": {"node": "io_worker@one", "queues": ["ran", "strayed"]}}}
    assert [fault.split(":")[0] for fault in verify_faults(result, [plan])] == ["ran", "strayed"]
    assert [fault.split(":")[0] for fault in verify_faults(result, [plan], whole=False)] == ["strayed"]
