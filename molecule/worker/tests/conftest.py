"""Two processes share these tests, a file each: each has a host of its own once nobody needs both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scenario import Scenario, until
from support.workers import Fleet, Hosts


@pytest.fixture(scope="session")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is there when no test needs both hosts any more."""
    place = tmp_path_factory.getbasetemp()
    return (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "free"


@pytest.fixture
def both(free: Path) -> Iterator[None]:
    yield
    free.touch()


@pytest.fixture(scope="session")
def second(free: Path) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        until(free.exists, "the second host is free", 1200)


@pytest.fixture(scope="module")
def fleet(scenario: Scenario, host: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(scenario, host, tmp_path_factory.mktemp("fleet"))
