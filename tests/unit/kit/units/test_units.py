"""Workers that somebody started by hand: whatever their files say, the kit takes the first model."""

import subprocess

import pytest
import yaml
from fleet.model.read import read_model
from fleet.units.formats import LARGEST, UnitError, read_file, read_text
from fleet.units.model import first_model
from fleet.units.workers import Worker, workers_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fleet_model

SYSTEMD = """
[Unit]
Description=Celery
[Service]
User=celery
Environment="QUEUES=video,emails" LIMIT=1800
ExecStart=/bin/sh -c '/srv/venv/bin/celery -A shop worker -Q $QUEUES -c 8 \\
    --time-limit=${LIMIT} --soft-time-limit 1500.5 --max-tasks-per-child=20 -n w1@%%h'
"""
MULTI = """
CELERYD_NODES="fast slow"
CELERY_BIN="/srv/venv/bin/celery"
CELERYD_OPTS="--time-limit=300 -c 8 -Q:fast emails,api -Q:2 imports \\
    --prefetch-multiplier:slow=16 -P:fast gevent"
"""
SUPERVISOR = """
[program:mail]
command=/srv/venv/bin/python -m celery --app=shop worker -Qemails -c50 ; all at once
[program:web]
command=gunicorn shop.wsgi
"""
COMPOSE = """
services:
  worker:
    image: shop
    command: ["celery", "-A", "shop", "worker", "--autoscale=8,2", "-B"]
  beat: {command: celery -A shop beat}
"""


def workers(text):
    return [worker for command in read_text(text, "shop") for worker in workers_of(command)]


def faults(first):
    model = fleet_model.load()
    model["pools"], model["profiles"] = first.pools, first.profiles
    model["routing"] = {**first.routing, "site_rules": []}
    _, findings = read_model(model)
    return findings.errors


def test_a_unit_s_options_become_a_pool_for_each_kind_with_findings():
    [worker] = workers(SYSTEMD)
    assert worker == Worker("shop", ("video", "emails"), 8, None, None, 1800, 1501, 20)
    first = first_model([worker])
    assert [name for name, _ in first.findings] == [
        "mistake/mixed-kinds",
        "mistake/high-prefetch",
        "mistake/one-concurrency",
    ]
    assert {name: (pool["kind"], list(pool["queues"])) for name, pool in first.pools.items()} == {
        "shop_cpu": ("cpu", ["video"]),
        "shop_io": ("io", ["emails"]),
    }
    assert {pool["time_limit"] for pool in first.pools.values()} == {1800}
    assert faults(first) == []


def test_nodes_of_multi_have_their_own_options():
    fast, slow = workers(MULTI)
    assert fast == Worker("fast", ("emails", "api"), 8, None, None, 300, execution="gevent")
    assert slow == Worker("slow", ("imports",), 8, None, 16, 300)
    first = first_model([fast, slow])
    assert [name for name, _ in first.findings] == ["mistake/high-prefetch", "mistake/one-concurrency"]
    assert first.pools["slow"]["prefetch_multiplier"] == 1
    assert faults(first) == []


def test_supervisor_and_compose():
    assert workers(SUPERVISOR) == [Worker("mail", ("emails",), 50)]
    [worker] = workers(COMPOSE)
    assert worker == Worker("worker", autoscale=(8, 2))
    first = first_model([worker])
    assert first.pools["worker"]["autoscale"] == {"enabled": True, "min": 2, "max": 8}
    assert [name for name, _ in first.findings] == ["limits/missing"]
    assert faults(first) == []


def test_several_workers_of_a_queue_are_one_pool():
    first = first_model([Worker("one", ("api",)), Worker("two", ("api",))])
    assert list(first.pools) == ["one"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[Service]\0",
        b"hello",
        b"x" * (LARGEST + 1),
        b"services: [1]",
        b"services: {a: *b}",
        b"[Service]\nExecStart=celery worker 'open",
        b"services:\n" + b"[" * 5000,
    ],
    ids=range(8),
)
def test_what_starts_no_workers_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UnitError):
        read_file(path)


@pytest.mark.parametrize("figure", ["-1", "x", "9" * 8, "1e9", "", "\u0661\n"])
def test_figures_that_are_none_are_refused(figure):
    [command] = read_text("[Service]\nExecStart=celery worker", "shop")
    with pytest.raises(ValueError, match="no figure"):
        workers_of(type(command)("shop", ("celery", "worker", "-c", figure)))


figures = st.none() | st.integers(0, 10**6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(
            Worker,
            st.text(max_size=40),
            st.lists(
                st.text(min_size=1, max_size=60)
                | st.sampled_from(
                    [
                        "celery",
                        "fleet_verify",
                        "amq.x",
                        "celeryev",
                        "a_tasks_dead",
                        "celery_delayed_1",
                        "video",
                        "api",
                    ]
                ),
                min_size=1,
                max_size=4,
                unique=True,
            ).map(tuple),
            figures,
            st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
            figures,
            figures,
            figures,
            figures,
            st.none() | st.sampled_from(["prefork", "threads", "gevent", "eventlet", "solo", "x"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_workers_say_the_model_is_one_that_the_kit_takes(given_workers):
    first = first_model(given_workers)
    assert faults(first) == []
    # As the command writes it, and a site reads it.
    assert yaml.safe_load(yaml.safe_dump(first.variables)) == first.variables


def test_the_command_writes_variables_and_says_what_is_wrong(tmp_path):
    (tmp_path / "shop.service").write_text(SYSTEMD)
    run = subprocess.run(
        [fleet_model.ROOT / "scripts/read_units", "shop.service"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert list(yaml.safe_load(run.stdout)["fleet_pools"]) == ["shop_cpu", "shop_io"]
    assert run.stderr.startswith("mistake/mixed-kinds: shop consumes queues of the kinds cpu, io")
