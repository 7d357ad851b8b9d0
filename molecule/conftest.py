"""Fixtures of every scenario's tests."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.scenario import MOLECULE, Scenario, failures
from support.scenario import journal as unit_journal

_read = cache(Scenario)  # its inventory, once


def _scenario(path: Path) -> Scenario:
    """Return the scenario that a test belongs to."""
    return _read(path.relative_to(MOLECULE).parts[0])


@pytest.fixture(scope="module")
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Return the hosts of this scenario and what the model says about them."""
    return _scenario(request.path)


@pytest.fixture(scope="module")
def host(scenario: Scenario) -> Callable[[str], Any]:
    """Return a function from a host's name to its testinfra host."""
    return cache(scenario.connect)


@pytest.fixture(scope="module")
def journal(host: Callable[[str], Any]) -> Callable[..., str]:
    """Return a function from a host's and a unit's name to the unit's journal."""
    return lambda name, unit, lines=200: unit_journal(host(name), unit, lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journals of failed units to the report of a failed test."""
    report = yield
    if report.failed and report.when == "call":
        report.sections.append(("hosts", failures(_scenario(item.path))))
    return report
