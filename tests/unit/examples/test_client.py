import threading

import pytest
from demo.outside import request_json

RECORD = {"task": "demo.tasks.cpu.a", "host": "h1", "node": "cpu_worker@h1", "pool": "cpu", "seconds": 0.1}


@pytest.fixture
def client(demo_app):
    from demo import client

    return client


def sent(client, number, way="name", task="a"):
    return client.Sent(str(number), f"demo.tasks.cpu.{task}", way, "cpu", "cpu_tasks", "cpu.analysis")


def test_what_is_published_is_joined_with_the_ledger(client):
    items = [
        sent(client, number, way) for number, way in enumerate(("name", "name", "name", "hint", "queue"))
    ]
    records = [
        RECORD | {"id": "0", "seconds": 0.1},
        RECORD | {"id": "1", "seconds": 0.2},
        RECORD | {"id": "2", "seconds": 0.3},
        RECORD | {"id": "2", "seconds": 0.3},
        RECORD | {"id": "3", "host": "h2", "node": "io_worker@h2", "pool": "io"},
    ]
    outcome = client.report(items, records)
    assert outcome.rows == [
        client.Row("demo.tasks.cpu.a", "name", "cpu.analysis", "h1", "cpu_worker@h1", 3, 200.0, 290.0),
        client.Row("demo.tasks.cpu.a", "hint", "cpu.analysis", "h2", "io_worker@h2", 1, 100.0, 100.0),
    ]
    assert outcome.hosts == {"h1": 3, "h2": 1}
    assert outcome.missing == [items[4]]
    assert outcome.misplaced == [items[3]]
    assert outcome.repeated == 1


def test_the_report_names_what_is_missing_and_misplaced(client):
    items = [sent(client, 1), sent(client, 2), sent(client, 3)]
    text = client.show(client.report(items, [RECORD | {"id": "1"}, RECORD | {"id": "2", "pool": "io"}]))
    assert "a     name  cpu.analysis  h1    cpu_worker@h1      2   100.0   100.0" in text
    assert "1 not in the ledger:\nid  task              way   exchange   routing key\n 3  demo" in text
    assert "1 ran in another kind of pool:" in text
    assert "recorded more than once" not in text


def test_numbers_stand_to_the_right(client):
    assert (
        client.table(("name", "n"), [("a", 1.5), ("long name", 22)])
        == "name         n\na          1.5\nlong name   22"
    )
    assert client.table(("name", "n"), []) == "name  n"


def test_the_wait_ends_when_the_last_record_is_there(client, running):
    for name in ("before", "1", "other"):
        request_json(f"{running.url}/ledger", RECORD | {"id": name}, timeout=5)
    got = []
    waiter = threading.Thread(
        target=lambda: got.extend(client.await_records(running.url, 1, ["1", "2"], timeout=30))
    )
    waiter.start()
    request_json(f"{running.url}/ledger", RECORD | {"id": "2"}, timeout=5)
    waiter.join(10)
    assert [record["id"] for record in got] == ["1", "2"]


def test_the_wait_ends_at_its_timeout_with_what_there_is(client, running):
    request_json(f"{running.url}/ledger", RECORD | {"id": "1"}, timeout=5)
    got = client.await_records(running.url, 0, ["1", "2"], timeout=0.05)
    assert [record["id"] for record in got] == ["1"]


@pytest.mark.parametrize(
    ("records", "code", "says"),
    [
        ([RECORD | {"id": "1"}], 0, "h1"),
        ([], 1, "1 not in the ledger"),
        ([RECORD | {"id": "1", "pool": "io"}], 1, "1 ran in"),
    ],
)
def test_the_exit_code_tells_whether_all_ran_where_they_belong(
    client, running, monkeypatch, capsys, records, code, says
):
    def publish(run, each, sink):
        for record in records:
            request_json(f"{sink}/ledger", record, timeout=5)
        yield sent(client, 1)

    monkeypatch.setattr(client, "publish", publish)
    assert client.main(["--sink", running.url, "--wait", "0.1"]) == code
    assert says in capsys.readouterr().out


def test_a_refused_task_is_named_and_ends_the_run(client, running, monkeypatch, capsys):
    def publish(run, each, sink):
        yield sent(client, 1)
        raise client.celery_fleet.QueueFullError("the queue of cpu_tasks is full")

    monkeypatch.setattr(client, "publish", publish)
    assert client.main(["--sink", running.url, "--wait", "1"]) == 1
    assert (
        "after 1 tasks the next was refused: QueueFullError: the queue of cpu_tasks is full"
        in capsys.readouterr().err
    )


def test_without_a_wait_it_says_what_went_where(client, running, monkeypatch, capsys):
    monkeypatch.setattr(
        client, "publish", lambda run, each, sink: iter([sent(client, n) for n in range(each)])
    )
    assert client.main(["--sink", running.url, "--each", "3"]) == 0
    assert "demo.tasks.cpu.a  name  cpu_tasks  cpu.analysis      3" in capsys.readouterr().out
