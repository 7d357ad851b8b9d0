"""The table of fields agrees with what is built from it."""

from dataclasses import fields

import pytest
from fleet.model.fields import BROKER, POOL, RESERVE
from fleet.model.read import read_model
from fleet.model.types import Broker, Pool, Reserve


@pytest.mark.parametrize(
    ("table", "built", "more"),
    [(POOL, Pool, {"name", "origins"}), (RESERVE, Reserve, set()), (BROKER, Broker, set())],
    ids=["pool", "reserve", "broker"],
)
def test_a_dataclass_has_the_fields_of_its_table(table, built, more):
    assert {field.name for field in fields(built)} == table.keys() | more


def test_nested_fields_agree_too(model):
    pool = read_model(model)[0].pools["cpu"]
    queue = pool.queues["cpu_ml_training"]
    for built, spec in ((pool.autoscale, POOL["autoscale"]), (pool.demand, POOL["demand"])):
        assert {field.name for field in fields(built)} == spec.fields.keys()
    assert {field.name for field in fields(queue)} == POOL["queues"].each.fields.keys() | {"name"}
