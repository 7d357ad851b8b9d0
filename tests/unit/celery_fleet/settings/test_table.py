"""Each setting of each supported Celery has an entry, and each entry is kept."""

from __future__ import annotations

import json
import operator
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS

from celery_fleet.fleet import Fleet
from celery_fleet.settings import refusals, values
from celery_fleet.settings.table import PARTS, SETTINGS, Decides, setting

# The settings that each release brought. None has gone so far, and none came within a minor release.
BROUGHT: dict[str, list[str]] = json.loads((Path(__file__).parent / "known.json").read_text())
KNOWN = dict(zip(BROUGHT, accumulate(map(set, BROUGHT.values()), operator.or_), strict=True))
INSTALLED = ".".join(celery.__version__.split(".")[:2])
EVERY = sorted(KNOWN["5.7"])


def test_the_list_is_that_of_the_installed_celery() -> None:
    assert KNOWN[INSTALLED] == set(SETTING_KEYS)


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_has_an_entry(name: str) -> None:
    entry = setting(name)
    assert entry is not None
    assert entry.meaning.endswith(".")


def test_every_entry_is_one_settings() -> None:
    named = " ".join(names for part in PARTS.values() for names in part).split()
    assert len(named) == len(set(named)), "an entry twice"
    for name in named:
        assert any(fnmatchcase(each, name) for each in EVERY), f"no supported Celery has {name}"


def _decided(*by: Decides) -> set[str]:
    return {name for name in SETTING_KEYS if (entry := setting(name)) and entry.decides in by}


@pytest.fixture
def own() -> dict[str, Any]:
    return {"broker_connection_timeout": 3.0}


def test_the_fleet_has_a_value_for_what_it_decides(fleet: Fleet, own: dict[str, Any]) -> None:
    ours = values.owned(fleet, "cpu", own)
    assert ours.keys() - {"task_queues"} == _decided(Decides.FLEET, Decides.BOTH)
    assert ours.keys() >= values.owned(fleet, None, own).keys()
    for pool in (None, "cpu"):
        assert values.defaults(fleet, pool).keys() == _decided(Decides.PREFERRED)


def test_what_is_refused_is_looked_for() -> None:
    refused = {name for name, entry in SETTINGS.items() if entry.decides is Decides.REFUSED}
    assert refusals.OFFENCES.keys() == refused
    assert refusals.refused(Celery("plain", set_as_current=False).conf) == {}
