"""Layers of the model, and the figures of units and slices."""

import json

import pytest
from fleet.findings import ModelError
from fleet.plan.tables import plan_table
from support.fleet_model import host_plan

HARDWARE = {"cores": 8, "memory_mib": 64300}


def balanced(model, pools=None, **more):
    return host_plan(model, "b1", ["balanced_servers"], pools or {}, {**HARDWARE, **more}, "b1")


def test_each_layer_wins_over_the_one_below(model):
    def limit():
        return balanced(model, host)["pools"]["io"]["max_tasks_per_child"]

    host = {}
    model["pool_defaults"]["max_tasks_per_child"] = 1
    del model["pools"]["io"]["max_tasks_per_child"]
    assert limit() == 1
    model["pools"]["io"]["max_tasks_per_child"] = 2
    assert limit() == 2
    model["environment_pools"] = {"io": {"max_tasks_per_child": 3}}
    assert limit() == 3
    model["profiles"]["balanced_servers"]["pools"]["io"] = {"max_tasks_per_child": 4}
    assert limit() == 4
    host = {"io": {"max_tasks_per_child": 5}}
    assert limit() == 5


def test_a_host_changes_one_nested_field_and_keeps_the_others(model):
    pool = balanced(model, {"io": {"demand": {"memory_mib": 512}}})["pools"]["io"]
    assert pool["demand"] == {"cores": 0.06, "memory_mib": 512}
    assert pool["time_limit"] == 300


def test_a_host_gains_a_pool_by_naming_it(model):
    plan = balanced(model, {"cpu": None})
    assert list(plan["pools"]) == ["cpu", "io", "general"]
    assert sum(pool["share"] for pool in plan["pools"].values()) == pytest.approx(1)


def test_a_host_in_two_profiles_runs_the_pools_of_both(model):
    plan = host_plan(model, "x", ["cpu_servers", "balanced_servers"], {}, HARDWARE, "x")
    assert plan["profiles"] == ["cpu_servers", "balanced_servers"]
    assert list(plan["pools"]) == ["cpu", "io", "general"]


def test_a_host_in_no_profile_runs_nothing(model):
    plan = host_plan(model, "x", ["workers"], {}, HARDWARE, "x")
    assert plan["pools"] == {}
    assert "x" in plan_table([plan])


def test_unit_and_slice_figures(model):
    pool = balanced(model)["pools"]["io"]
    assert pool["node"] == "io_worker@b1"
    assert pool["slice"] == "celery-fleet-io.slice"
    assert pool["unit"] == "celery-fleet-io@.service"
    assert pool["prefetch_count"] == 500
    assert pool["stop_timeout"] == 360
    assert pool["consumer_timeout_ms"] == (10 * 300 + 300) * 1000
    assert pool["memory_max_mib"] == 28935
    assert pool["cpu_weight"] == 5000
    assert pool["tasks_max"] == 2 * (64 + 50 * 24)


def test_a_shutdown_waits_for_the_longest_task_of_the_host_and_never_less_than_systemd_does(model):
    assert balanced(model)["shutdown_timeout"] == 1800
    assert balanced(model, {"cpu": None})["shutdown_timeout"] == 3600 + 60 + 300


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({}, 256 * 1024),
        ({"demand": {"cores": 1, "memory_mib": 0.3}}, 308),
        ({"demand": {"cores": 1, "memory_mib": 0}}, None),
        ({"execution": "threads"}, None),
    ],
)
def test_a_process_is_replaced_that_is_larger_than_its_tasks_need(model, change, limit):
    model["pools"]["io"] |= {"execution": "prefork", **change}
    model["pools"]["io"]["autoscale"] = {"enabled": False, "min": 1, "max": 1}
    assert balanced(model)["pools"]["io"]["max_memory_per_child_kib"] == limit


def test_memory_of_all_slices_stays_within_the_host(model):
    plan = host_plan(model, "x", ["cpu_servers", "balanced_servers"], {}, HARDWARE, "x")
    assert sum(pool["memory_max_mib"] for pool in plan["pools"].values()) <= 0.9 * HARDWARE["memory_mib"]


def test_weights_move_the_shares(model):
    plan = balanced(model, {"io": {"weight": 3}})
    assert (plan["pools"]["io"]["share"], plan["pools"]["general"]["share"]) == (0.75, 0.25)
    assert plan["pools"]["io"]["concurrency"] == 75


def test_an_override_above_the_budget_is_refused_with_the_variable(model):
    with pytest.raises(ModelError, match=r"fleet_host_pools\.io\.concurrency = 51(.|\n)*at most 50"):
        balanced(model, {"io": {"concurrency": 51}})


def test_autoscale_range_in_plan_and_table(model):
    plan = balanced(model, {"general": {"autoscale": {"enabled": True, "min": 2, "max": 8}}})
    pool = plan["pools"]["general"]
    assert (pool["concurrency"], pool["prefetch_count"], pool["bound_by"]) == (8, 32, "override")
    assert pool["consumer_timeout_ms"] == (16 * 600 + 300) * 1000
    assert "2-8" in plan_table([plan])


def test_the_plan_is_plain_data(model):
    plan = balanced(model)
    assert json.loads(json.dumps(plan)) == plan


def test_the_table_fits_a_terminal_and_says_why(model):
    lines = plan_table([balanced(model, {"io": {"concurrency": 40}})]).splitlines()
    assert lines[0].split()[:3] == ["host", "pool", "tasks"]
    assert "override (not 50)" in lines[1]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("hardware", [None, {}, {"cores": "many"}, {"cores": 0, "memory_mib": 1}, 7])
def test_unknown_hardware_is_refused(model, hardware):
    with pytest.raises(ModelError, match="hardware/unreadable"):
        host_plan(model, "x", ["cpu_servers"], {}, hardware, "x")
