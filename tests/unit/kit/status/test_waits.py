"""How long tasks wait, from what several workers report."""

import pytest
from fleet.host.metrics import WAIT_EDGES
from fleet.status.waits import of_queue


def worker(newest=None, **counts):
    """A worker that started so many tasks whose waits were below an edge."""
    waits = [counts.get(f"e{place}", 0) for place in range(len(WAIT_EDGES) + 1)]
    return {"queues": {"q": {"waits": waits, "newest_s": newest}}}


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([], None),
        ([{"queues": {}}, {"queues": {"other": {"waits": [9] * 16, "newest_s": 1}}}], None),
        ([worker()], None),
        ([worker(e3=100)], 0.975),
        # Those of all hosts together: nine of ten at once, one within a minute.
        ([worker(e0=90), worker(e8=10)], 45.0),
        ([worker(e15=1)], WAIT_EDGES[-1]),
        ([{"queues": {"q": {"waits": None, "newest_s": 3}}}, worker(e3=100)], 0.975),
    ],
)
def test_the_waits_of_all_workers_count(instances, expected):
    assert of_queue({"name": "q", "ready": 0}, instances)["wait_p95_s"] == (
        expected and pytest.approx(expected)
    )


@pytest.mark.parametrize(
    ("ready", "newest", "expected"),
    [(3, [60, 20, None], 20), (0, [20], None), (3, [], None), (None, [20], None)],
)
def test_no_waiting_task_is_older_than_the_newest_that_was_started(ready, newest, expected):
    found = of_queue({"name": "q", "ready": ready}, [worker(each) for each in newest])
    assert found["oldest_at_most_s"] == expected
