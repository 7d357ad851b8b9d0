from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.fleet_site import VARIABLE, Management, Site, Worker, declare_topology, make_users

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"integration: needs a RabbitMQ broker, which {VARIABLE} names")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fleet of its own at the broker that the environment names, with least privilege."""
    url = os.environ.get(VARIABLE)
    assert url, f"set {VARIABLE} to the management URL of a broker, e.g. http://kit:PASSWORD@broker1:15672"
    management = Management(url)
    # Short, since a socket's path may have 107 characters.
    site = Site(management, tmp_path_factory.mktemp("site"), f"fleet_test_{uuid.uuid4().hex[:8]}")
    site.ledger.mkdir()
    management.call("PUT", "vhosts", site.vhost)
    try:
        management.call(
            "PUT", "permissions", site.vhost, management.user, configure=".*", write=".*", read=".*"
        )
        declare_topology(site)
        make_users(site)
        yield site
    finally:
        for worker in site.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        for app in site.apps:
            app.pool.force_close_all()
        management.call("DELETE", "vhosts", site.vhost)
        for role in ("worker", "client", "verify"):
            with suppress(OSError):
                management.call("DELETE", "users", site.user(role))


@pytest.fixture(scope="session")
def fleet(site: Site) -> dict[str, Worker]:
    """One worker of each pool, with processes for the cpu pool and threads for the others."""
    workers = {
        "cpu": site.worker("cpu", "--pool", "prefork", "--concurrency", "2", name="cpu_worker"),
        "io": site.worker("io", "--pool", "threads", "--concurrency", "4", name="io_worker"),
        "memory": site.worker("memory", "--pool", "threads", "--concurrency", "1", name="memory_worker"),
        "general": site.worker("general", "--pool", "threads", "--concurrency", "2", name="general_worker"),
    }
    return {pool: worker.ready() for pool, worker in workers.items()}
