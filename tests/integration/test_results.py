"""Results on the fleet's own server: chains, groups and chords across pools, rights, and outages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery, chord, group, signature
from fleet.host.results import ResultsError, ask, status
from fleet.status.results import warnings
from support.authority import Authority
from support.results_server import ResultsServer
from support.vhost import Proxy, Vhost, Worker, temporary_vhost, wait_for

CPU, IO, MEMORY = "shop.train_model", "shop.call_external_api", "shop.aggregate_user_data"
QUEUES = {"cpu": "cpu_data_analysis", "io": "io_api_calls", "memory": "memory_aggregations"}
OWN = {"TEST_RESULTS": ""}


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    with temporary_vhost(tmp_path_factory.mktemp("r")) as vhost:
        yield vhost


@pytest.fixture(scope="module")
def server(vhost: Vhost) -> Iterator[ResultsServer]:
    server = ResultsServer(vhost.secrets).start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def workers(vhost: Vhost, server: ResultsServer) -> dict[str, Worker]:
    """A worker of each pool but `general`, of two execution pools."""
    path = vhost.fleet_file(results=server.address)
    kinds = {"cpu": "prefork", "io": "threads", "memory": "prefork"}
    workers = {
        pool: vhost.worker(pool, "--pool", kind, "--concurrency", "2", fleet_file=path, environment=OWN)
        for pool, kind in kinds.items()
    }
    return {pool: worker.ready() for pool, worker in workers.items()}


@pytest.fixture
def client(vhost: Vhost, server: ResultsServer, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """A client that sets no result backend."""
    path = vhost.fleet_file(results=server.address)
    return vhost.client(monkeypatch, fleet_file=path, task_ignore_result=False)


@pytest.mark.usefixtures("workers")
def test_chains_groups_and_chords_cross_the_pools(client: Celery) -> None:
    cpu, io, memory = (signature(name, ("a",), app=client) for name in (CPU, IO, MEMORY))
    chain = cpu | signature(IO, ("b",), app=client) | signature(MEMORY, ("c",), app=client)
    assert chain.delay().get(30) == "a b c"
    saved = group([cpu, io, memory], app=client).delay()
    saved.save()
    assert saved.get(30) == ["a", "a", "a"]
    assert client.GroupResult.restore(saved.id).get(30) == ["a", "a", "a"]
    ended = chord([cpu, io, memory], signature(IO, app=client), app=client).delay()
    assert ended.get(30) == "['a', 'a', 'a']"
    ended.forget()


@pytest.mark.usefixtures("workers")
def test_an_outage_delays_results_and_nothing_else(
    vhost: Vhost,
    server: ResultsServer,
    workers: dict[str, Worker],
    client: Celery,
    request: pytest.FixtureRequest,
) -> None:
    """Tasks are published and run once, and a chord that was under way ends, when the server is back."""
    held = [signature("hold", (f"held-{pool}",), queue=queue, app=client) for pool, queue in QUEUES.items()]
    under_way = chord(held, signature(IO, app=client), app=client).delay()
    wait_for(lambda: all(vhost.events(f"held-{pool}")["start"] for pool in QUEUES), 60, "the chord's parts")
    server.stop()
    request.addfinalizer(server.start)
    for pool in QUEUES:
        vhost.release(f"held-{pool}")
    published = [client.send_task("work", (f"away-{pool}",), queue=queue) for pool, queue in QUEUES.items()]
    wait_for(lambda: all(vhost.events(f"away-{pool}")["end"] for pool in QUEUES), 60, "tasks in the outage")
    for worker in workers.values():
        wait_for(
            lambda worker=worker: len(worker.state["active"]) == 2, 60, "tasks that wait for the results"
        )
    server.start()
    assert under_way.get(30) == "[None, None, None]"
    assert [each.get(30) for each in published] == [None, None, None]
    for label in (f"{kind}-{pool}" for kind in ("held", "away") for pool in QUEUES):
        assert len(vhost.events(label)["start"]) == 1
    for worker in workers.values():
        worker.reaches(active=[], failed=0)


def test_a_task_gives_its_slot_back_when_the_outage_is_long(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it waits for two seconds. Then its result is missing, as the log says; it does not run again."""
    address = Proxy("127.0.0.1", 1).address  # nobody listens there
    path = vhost.fleet_file(results=address, soft_time_limit=8)
    worker = vhost.worker(
        "general", "--pool", "prefork", "--concurrency", "1", fleet_file=path, environment=OWN
    )
    worker.ready()
    app = vhost.client(monkeypatch, fleet_file=path, task_ignore_result=False)
    lost = app.send_task("work", ("lost",), queue="general_background")
    killed = app.send_task("poison", ("killed",), queue="general_background")
    worker.reaches(executed=2, active=[])
    wait_for(
        lambda: f"The result of task {lost.id} (SUCCESS) was not stored" in worker.log.read_text(),
        60,
        "words",
    )
    assert killed.id and len(vhost.events("lost")["end"]) == 1
    assert worker.stop() == 0


def test_rights(server: ResultsServer) -> None:
    task, group_id = "celery-task-meta-x", "celery-taskset-meta-8a4c6b6e-8a4c-4b6e-8a4c-8a4c6b6e8a4c"
    worker, client, kit = (server.client(f"results_{side}") for side in ("worker", "client", "kit"))
    host, port = server.address
    nobody = redis.Redis(host=host, port=port)
    worker.set(task, "done")
    assert client.get(task) == "done"
    client.set(f"{group_id}.s", 3)
    client.set(group_id, "members")
    assert kit.info("memory")["maxmemory"] == 64 * 2**20
    refused = [
        *(lambda: client.set(task, "forged"), lambda: client.publish(task, "forged")),
        *(lambda: client.rpush(f"{group_id}.j", "forged"), lambda: client.set(f"{group_id}.j", "forged")),
        *(
            lambda: client.keys("*"),
            lambda: worker.keys("*"),
            lambda: worker.flushall(),
            lambda: kit.get(task),
        ),
        *(lambda: worker.config_set("appendonly", "no"), lambda: worker.set("other", "x")),
        *(
            lambda: client.eval("return 1", 0),
            lambda: client.client_list(),
            lambda: worker.client_kill_filter(_id=1),
        ),
        lambda: client.execute_command("PSUBSCRIBE", "*"),
    ]
    for act in refused:
        with pytest.raises(redis.exceptions.NoPermissionError):
            act()
    with pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()


@pytest.mark.usefixtures("workers")
def test_passwords_and_certificates_are_read_at_each_connect(
    vhost: Vhost, server: ResultsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority("results")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(Authority("another").pem)
    proxy = Proxy(*server.address, tls=authority.server("127.0.0.1", tmp_path)).up()
    path = vhost.fleet_file(results=proxy.address)
    document = json.loads(path.read_text())
    document["results"]["tls"] = {"ca_file": str(ca_file)}
    path.write_text(json.dumps(document))
    password = vhost.secrets / "results_client"
    old = password.read_text()
    try:
        app = vhost.client(
            monkeypatch,
            fleet_file=path,
            task_ignore_result=False,
            result_backend_transport_options={"retry_policy": {"max_retries": 0}},
        )
        result = app.send_task(CPU, ("a",))
        with pytest.raises(redis.exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            result.status  # noqa: B018
        ca_file.write_bytes(authority.pem)
        password.write_text("new")
        with pytest.raises(redis.exceptions.AuthenticationError):
            result.status  # noqa: B018
        server.write_users({"results_client": old})
        server.client("results_kit").acl_load()
        assert result.get(30) == "a"
    finally:
        proxy.down()


def test_what_the_status_says_of_a_full_server(tmp_path: Path) -> None:
    full = ResultsServer(tmp_path, memory=3).start()
    try:
        places = {
            "path": str(full.directory / "socket"),
            "password_file": str(tmp_path / "results_kit"),
        }
        empty = status(**places)
        assert (empty["maxmemory"], empty["aof_fine"], empty["refused"]) == (3 * 2**20, True, 0)
        worker = full.client("results_worker")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            for number in range(40):
                worker.set(f"celery-task-meta-{number}", "x" * 2**17)
        figures = status(**places)
        assert figures["refused"] == 1
        [warning] = warnings("results1", {"answers": True, "figures": figures})
        assert warning.startswith("results1: results fill 3 of 3 MiB")
        assert ask("ACL", "LOAD", **places) == "OK"
        with pytest.raises(ResultsError, match=r"NOPERM|no permissions"):
            ask("FLUSHALL", **places)
        (tmp_path / "results_kit").write_text("another")
        with pytest.raises(ResultsError, match="WRONGPASS"):
            status(**places)
    finally:
        full.close()
    with pytest.raises(ResultsError):
        status(**places)
