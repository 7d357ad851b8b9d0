"""Names of units, slices and nodes are read as they are made."""

import re
from pathlib import Path

import pytest
from fleet.host.machine import Machine
from fleet.host.names import (
    BEAT_USER,
    BUILDER,
    CLIENTS,
    EXPORTER_USER,
    OPERATOR_USER,
    RESULTS_USER,
    USER,
    Name,
    Node,
    installation,
    node_pattern,
    pool_of,
    slice_of,
    units_of,
    user_of,
)


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


@pytest.mark.parametrize(
    ("pool", "user"),
    [
        ("cpu", "celery-fleet-cpu"),
        ("a" * 18, "celery-fleet-" + "a" * 18),
        ("a" * 19, "celery-fleet-aaaaaaaaa-a0b4aaab"),
        ("client", "celery-fleet-client-948fe603"),
    ],
)
def test_a_pool_has_a_user_whose_name_systemd_takes(pool: str, user: str) -> None:
    assert user_of(pool) == user
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", user)


def test_no_pool_s_user_is_another_one_s() -> None:
    pools = [
        "client",
        "operator",
        "commands",
        "exporter",
        "beat",
        "results",
        "build",
        "a" * 30,
        "a" * 31,
        "b" * 31,
    ]
    users = {user_of(pool) for pool in pools}
    assert len(users) == len(pools)
    assert not users & {CLIENTS, OPERATOR_USER, BEAT_USER, RESULTS_USER, EXPORTER_USER, BUILDER, USER}
