"""The sizing rule: the figures of the three profiles, and what holds for any fleet."""

from dataclasses import replace
from fractions import Fraction

import pytest
from fleet.model.types import Autoscale, Demand
from fleet.plan.sizing import Hardware, size
from hypothesis import given
from hypothesis import strategies as st
from support.fleet_model import HOSTS, host_plan
from support.sizes import POOL, RESERVE, machines, pool_mixes


@pytest.mark.parametrize(
    ("host", "expected"),
    [("cpu1", {"cpu": 12}), ("memory1", {"memory": 4}), ("balanced1", {"io": 50, "general": 10})],
)
def test_the_three_profiles_get_the_figures_of_the_guide(model, host, expected):
    groups, cores, memory = HOSTS[host]
    plan = host_plan(model, host, groups, {}, {"cores": cores, "memory_mib": memory}, host)
    assert {name: pool["concurrency"] for name, pool in plan["pools"].items()} == expected


@pytest.mark.parametrize(("memory", "fits"), [(30_900, 12), (28_000, 12), (20_000, 8)])
def test_memory_bounds_a_cpu_server_that_has_little_of_it(model, memory, fits):
    plan = host_plan(model, "c", ["cpu_servers"], {}, {"cores": 16, "memory_mib": memory}, "c")
    pool = plan["pools"]["cpu"]
    assert pool["concurrency"] == fits
    assert pool["bound_by"] == ("cores" if fits == 12 else "memory")


def test_decimal_demands_are_exact():
    pool = replace(POOL, demand=Demand(Fraction("0.06"), Fraction(0)))
    sized = size({"io": pool}, Hardware(Fraction(4), Fraction(4096)), RESERVE)["io"]
    assert sized.concurrency == 50
    assert sized.left["cores"] == 0
    assert sized.fits == {"cores": 50, "memory": None}


def test_max_concurrency_bounds_and_says_so():
    pool = replace(POOL, max_concurrency=7)
    sized = size({"io": pool}, Hardware(Fraction(64), Fraction(65536)), RESERVE)["io"]
    assert (sized.concurrency, sized.bound_by) == (7, "max")


def test_an_override_shows_what_it_replaced():
    pool = replace(POOL, concurrency=3)
    sized = size({"io": pool}, Hardware(Fraction(4), Fraction(65536)), RESERVE)["io"]
    assert (sized.concurrency, sized.derived, sized.bound_by, sized.over) == (3, 50, "override", False)


def test_the_upper_end_of_autoscale_counts():
    pool = replace(POOL, autoscale=Autoscale(True, 2, 51))
    sized = size({"io": pool}, Hardware(Fraction(4), Fraction(65536)), RESERVE)["io"]
    assert (sized.concurrency, sized.over) == (51, True)


@given(pool_mixes, machines)
def test_never_over_the_budget(pools, hardware):
    sizes = size(pools, hardware, RESERVE)
    assert sum(sized.share for sized in sizes.values()) == 1
    built = {name: sized for name, sized in sizes.items() if not sized.short}
    cores = sum(sized.concurrency * pools[name].demand.cores for name, sized in built.items())
    memory = sum(sized.concurrency * pools[name].demand.memory_mib for name, sized in built.items())
    assert cores <= (1 - RESERVE.cores) * hardware.cores
    assert memory <= (1 - RESERVE.memory) * hardware.memory_mib
    assert all(left >= 0 for sized in built.values() for left in sized.left.values())


@given(pool_mixes, machines)
def test_at_least_one_task_or_a_named_shortage(pools, hardware):
    for sized in size(pools, hardware, RESERVE).values():
        assert sized.short or sized.concurrency >= 1


@given(pool_mixes, machines)
def test_the_largest_that_fits(pools, hardware):
    for name, sized in size(pools, hardware, RESERVE).items():
        need = {"cores": pools[name].demand.cores, "memory": pools[name].demand.memory_mib}
        one_more = any((sized.concurrency + 1) * need[r] > sized.budget[r] for r in need)
        assert one_more or sized.bound_by == "max"


@given(pool_mixes, machines, st.integers(0, 64), st.integers(0, 65536))
def test_more_hardware_never_means_fewer_tasks(pools, hardware, cores, memory):
    larger = Hardware(hardware.cores + cores, hardware.memory_mib + memory)
    before, after = size(pools, hardware, RESERVE), size(pools, larger, RESERVE)
    assert all(after[name].concurrency >= before[name].concurrency for name in pools)


def test_all_pools_on_a_small_machine_are_refused_by_name(model):
    from fleet.findings import ModelError

    model["profiles"] = {"single": {"pools": {"cpu": {}, "io": {}, "memory": {}, "general": {}}}}
    with pytest.raises(ModelError) as refusal:
        host_plan(model, "small", ["single"], {}, {"cores": 2, "memory_mib": 3900}, "small")
    ids = {(finding.id, finding.variable) for finding in refusal.value.findings}
    assert ("sizing/too-little-memory", "fleet_pools.memory.demand.memory_mib") in ids
    assert ("sizing/too-few-cores", "fleet_pools.cpu.demand.cores") in ids
    assert "24576 MiB" in str(refusal.value)


def test_all_pools_on_a_small_machine_work_with_small_demands(model):
    small = {"cores": 0.3, "memory_mib": 256}
    model["profiles"] = {"single": {"pools": {name: {"demand": small} for name in model["pools"]}}}
    plan = host_plan(model, "small", ["single"], {}, {"cores": 2, "memory_mib": 3900}, "small")
    assert {name: pool["concurrency"] for name, pool in plan["pools"].items()} == dict.fromkeys(
        model["pools"], 1
    )
