from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.odd_settings import ENVIRONMENT
from support.vhost import VARIABLE, Vhost, Worker, temporary_vhost

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "minors: touches what differs between releases of Celery")
    config.addinivalue_line("markers", f"integration: needs a RabbitMQ broker, which {VARIABLE} names")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    """The fleet that most tests share."""
    # Short, since a socket's path may have 107 characters.
    with temporary_vhost(tmp_path_factory.mktemp("site")) as vhost:
        yield vhost


@pytest.fixture(scope="session")
def fleet(vhost: Vhost) -> dict[str, Worker]:
    """One worker of each pool, with processes for the cpu pool and threads for the others.

    Their application has settings that could break them. What these tests prove, they prove despite those.
    """
    kinds = {
        "cpu": ("prefork", "2"),
        "io": ("threads", "4"),
        "memory": ("threads", "1"),
        "general": ("threads", "2"),
    }
    workers = {
        pool: vhost.worker(
            pool, "--pool", kind, "--concurrency", slots, name=f"{pool}_worker", environment=ENVIRONMENT
        )
        for pool, (kind, slots) in kinds.items()
    }
    return {pool: worker.ready() for pool, worker in workers.items()}


@pytest.fixture
def alone(vhost: Vhost) -> Iterator[None]:
    """Let no worker of a test that failed take the tasks of the next."""
    yield
    for worker in vhost.workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()
