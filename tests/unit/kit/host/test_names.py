"""Names of units, slices and nodes are read as they are made."""

import re
from pathlib import Path

import pytest
from fleet.host.machine import Machine
from fleet.host.names import Name, Node, installation, node_pattern, pool_of, slice_of, units_of


def test_units_are_read_as_they_are_made():
    name = Name("io", "demo-1.2-0123", "89abcdef", 12)
    assert name.unit == "celery-fleet-io@demo-1.2-0123_89abcdef_12.service"
    assert Name.parse(name.unit) == name
    assert name.unit.startswith(units_of("io").partition("@")[0])
    assert Name.parse("celery-fleet-io@demo-0123.service") == Name("io", "demo-0123")
    assert Name.parse("prune-celery-fleet@celery-fleet-io-demo-0123.service") is None
    assert Name.parse(units_of("io")) is None


def test_slices_are_read_as_they_are_made():
    assert pool_of(slice_of("general")) == "general"


@pytest.mark.parametrize("pool", ["io", "x_worker", "x_worker_2"])
@pytest.mark.parametrize("number", [None, 1, 12])
def test_nodes_are_read_as_they_are_made(pool, number):
    node = Node(pool, "cpu-1.example", number)
    assert Node.parse(str(node)) == node
    assert node.planned == str(Node(pool, "cpu-1.example"))
    assert re.fullmatch(node_pattern(pool), str(node))
    assert not re.fullmatch(node_pattern("io2"), str(node))


@pytest.mark.parametrize("name", ["", "celery@host", "io_worker", "worker_io@host", "io_worker_x@host"])
def test_other_nodes_are_nobody_s(name):
    assert Node.parse(name) is None


def test_a_host_has_everything_where_roles_are_told(tmp_path):
    host, told = Machine(tmp_path), installation("demo")
    assert told["current"] == "/opt/demo/current"
    places = {"config": host.config, "units": host.units}
    assert {name: str(Path("/", path.relative_to(tmp_path))) for name, path in places.items()} == {
        name: told[name] for name in places
    }
