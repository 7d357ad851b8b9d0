"""Which part of `fleet.json` forces a restart."""

from copy import deepcopy

import pytest
from fleet.files.fleet_file import fleet_file, scheduler_digest, worker_digests
from fleet.files.worker import worker
from support.broken_models import put
from support.fleet_model import LOADED
from support.units import pool


@pytest.fixture
def document():
    return fleet_file(LOADED)


def changed(document, place, value):
    other = deepcopy(document)
    put(other, place, value)
    return other


def replaced(document, place, value):
    """The pools whose workers are replaced when the file changes."""
    before, after = worker_digests(document), worker_digests(changed(document, place, value))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("broker.nodes", [{"host": "10.0.0.2", "port": 5672}]),
        ("broker.tls", {"ca_file": "/ca.pem"}),
        ("routing.default_queue", "io_api_calls"),
        ("pools.io.queues", {"io_two": {"routing_key": "io.two"}}),
        ("pools.io.exchange", "other"),
        ("verify.exchange", "other"),
    ],
)
def test_every_worker_is_replaced_when_what_all_read_changes(document, place, value):
    assert replaced(document, place, value) == set(document["pools"])


@pytest.mark.parametrize("field", ["time_limit", "prefetch_multiplier", "user", "acknowledgement"])
def test_a_figure_of_a_pool_concerns_its_own_workers(document, field):
    assert replaced(document, f"pools.cpu.{field}", 7) == {"cpu"}


def test_dead_letters_concern_no_worker(document):
    assert replaced(document, "dead_letters.user", "other") == set()


@pytest.mark.parametrize(
    ("place", "value", "again"),
    [
        ("broker.vhost", "other", True),
        ("routing.periodic_queue", "io_api_calls", True),
        ("pools.cpu.time_limit", 7, False),
        ("verify.exchange", "other", False),
    ],
)
def test_the_scheduler_is_started_again_for_the_broker_and_the_routing(document, place, value, again):
    assert (scheduler_digest(document) != scheduler_digest(changed(document, place, value))) == again


def test_a_worker_is_replaced_when_its_unit_or_what_it_reads_changes_and_not_for_its_budget():
    def digest(reads="a", unit="[Service]", slice_text="", **plan):
        return worker(pool(**plan), "shop-1", reads, unit, slice_text)["digest"]

    assert len(digest()) == 8
    assert digest(unit="[Unit]") != digest()
    assert digest(reads="b") != digest()
    assert digest(slice_text="MemoryMax=1M", memory_max_mib=1) == digest()
