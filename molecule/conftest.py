"""Fixtures of every scenario's tests."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import MOLECULE, Site, failures
from support import journal as unit_journal


@cache
def _site(scenario: str) -> Site:
    """Return the one site of a scenario."""
    return Site(scenario)


def _scenario(path: Path) -> str:
    """Return the scenario that a test belongs to."""
    return path.relative_to(MOLECULE).parts[0]


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Site:
    """Return the hosts of this scenario and what the model says about them."""
    return _site(_scenario(request.path))


@pytest.fixture(scope="module")
def host(site: Site) -> Callable[[str], Any]:
    """Return a function from a host's name to its testinfra host."""
    return cache(site.connect)


@pytest.fixture(scope="module")
def journal(host: Callable[[str], Any]) -> Callable[..., str]:
    """Return a function from a host's and a unit's name to the unit's journal."""
    return lambda name, unit, lines=200: unit_journal(host(name), unit, lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journals of failed units to the report of a failed test."""
    report = yield
    if report.failed and report.when == "call":
        report.sections.append(("hosts", failures(_site(_scenario(item.path)))))
    return report
