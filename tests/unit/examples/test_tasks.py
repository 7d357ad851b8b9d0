"""The tasks run as a worker runs them, in this process; their files, mails and records are real."""

import json

import pytest

ARGUMENTS = {
    "demo.tasks.cpu.train_model": ["m1", "samples/points-1.csv"],
    "demo.tasks.cpu.process_video": ["v1"],
    "demo.tasks.cpu.analyze_dataset": ["points-1"],
    "demo.tasks.io.call_external_api": None,
    "demo.tasks.io.upload_file": ["samples/events-1.csv", "uploads/e.csv"],
    "demo.tasks.io.send_email": ["ops@example.org", "Hello", "It ran."],
    "demo.tasks.memory.aggregate_user_data": [["2025-01-01", "2025-01-31"]],
    "demo.tasks.memory.import_large_csv": ["samples/events-1.csv"],
}


@pytest.fixture
def app(demo_app, monkeypatch, running):
    """The application in the environment of a worker of the cpu pool."""
    monkeypatch.setenv("CELERY_FLEET_POOL", "cpu")
    monkeypatch.setenv("DEMO_SINK_URL", running.url)
    monkeypatch.setenv("DEMO_SMTP_URL", f"smtp://127.0.0.1:{running.smtp_port}")
    monkeypatch.setattr("demo.video.FRAMES", 1)
    return demo_app


def run(app, name, url, task_id="id-1"):
    arguments = ARGUMENTS[name] or [f"{url}/echo", {"a": 1}]
    return app.tasks[name].apply(arguments, task_id=task_id).get()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite"
    }


def test_the_application_has_the_eight_tasks(app):
    assert {name for name in app.tasks if name.startswith("demo.")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_task_that_is_delivered_twice_does_no_more_than_once(app, running, state, name):
    first = run(app, name, running.url)
    files, mails = contents(state), contents(running.store.mails)
    assert run(app, name, running.url) == first
    assert contents(state) == files
    assert contents(running.store.mails).keys() == mails.keys()


def test_what_the_tasks_give(app, running, state):
    results = {name.rpartition(".")[2]: run(app, name, running.url) for name in ARGUMENTS}
    assert json.loads((state / "models" / "m1.json").read_text()) == results["train_model"]
    assert (state / "videos" / "v1.gif").stat().st_size == results["process_video"]
    assert json.loads((state / "analyses" / "points-1.json").read_text()) == results["analyze_dataset"]
    assert results["call_external_api"] == {"a": 1}
    assert (state / "uploads" / "e.csv").read_bytes() == (state / "samples" / "events-1.csv").read_bytes()
    assert results["send_email"] == "<id-1@celery-fleet.invalid>"
    [mail] = contents(running.store.mails).values()
    assert b"\nTo: ops@example.org\n" in mail.replace(b"\r", b"") and b"It ran." in mail
    users = json.loads((state / "aggregates" / "2025-01-01_2025-01-31.json").read_text())
    assert len(users) == results["aggregate_user_data"] > 0
    assert results["import_large_csv"] == 80


def test_each_task_that_succeeds_is_recorded(app, running):
    run(app, "demo.tasks.cpu.process_video", running.url, task_id="id-7")
    [record] = running.store.records
    assert record["task"] == "demo.tasks.cpu.process_video"
    assert (record["id"], record["pool"]) == ("id-7", "cpu")
    assert 0 < record["seconds"] < 5


@pytest.mark.parametrize("sink", [None, "http://127.0.0.1:9"])
def test_a_task_does_not_need_the_ledger(app, monkeypatch, running, sink):
    monkeypatch.delenv("DEMO_SINK_URL")
    if sink:
        monkeypatch.setenv("DEMO_SINK_URL", sink)
    assert run(app, "demo.tasks.cpu.process_video", running.url) > 0
    assert running.store.records == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("demo.tasks.cpu.train_model", ["../../../x", "samples/points-1.csv"]),
        ("demo.tasks.cpu.process_video", ["../../../x"]),
        ("demo.tasks.cpu.analyze_dataset", ["../../../etc/passwd"]),
        ("demo.tasks.io.upload_file", ["/etc/passwd", "x"]),
        ("demo.tasks.io.upload_file", ["samples/points-1.csv", "../../x"]),
        ("demo.tasks.memory.aggregate_user_data", [["../../..", "x"]]),
    ],
)
def test_no_argument_leads_out_of_the_demos_directory(app, state, name, arguments):
    with pytest.raises(ValueError, match="outside the demo's directory"):
        app.tasks[name].apply(arguments).get()


@pytest.mark.parametrize("number", range(8))
def test_a_queue_is_named_once_by_the_task_or_by_the_client(app, number):
    from demo import client

    job = client.jobs("run", 0, "http://sink")[number]
    assert job.task in ARGUMENTS
    assert [bool(job.queue), hasattr(app.tasks[job.task], "queue")].count(True) == 1
    assert (job.queue or app.tasks[job.task].queue).startswith(job.pool)
