"""Servers of five sizes with all four pools, and figures that do not move with what a kernel keeps."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from fleet.findings import ModelError
from fleet.plan.hardware import KERNEL_SHARE
from fleet.plan.sizing import Hardware, size
from hypothesis import given
from hypothesis import strategies as st
from support.fleet_model import HOSTS, host_plan
from support.sizes import RESERVE, machines, pool_mixes

GIB = 1024
# Shares of the nominal memory: all of it, what kernels of servers show, the least that counts as the same.
SHOWN = [1, Fraction("0.98"), Fraction("0.955"), 1 - KERNEL_SHARE]


def tasks(plan):
    return {name: pool["concurrency"] for name, pool in plan["pools"].items()}


def single(model, cores, gib, shown=1):
    model["profiles"] = {"single": {"pools": {name: {} for name in model["pools"]}}}
    hardware = {"cores": cores, "memory_mib": math.floor(gib * GIB * shown)}
    return host_plan(model, "s1", ["single"], {}, hardware, "s1")


def refusals(model, cores, gib, shown=1):
    with pytest.raises(ModelError) as refusal:
        single(model, cores, gib, shown)
    found = {}
    for finding in refusal.value.findings:
        pool = finding.variable.split(".")[1]
        found.setdefault(pool, set()).add(finding.id.removeprefix("sizing/too-"))
        assert finding.where == "s1"
        assert f"of pool {pool} need" in finding.reason
    return found


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize(
    ("host", "nominal", "expected"),
    [
        ("cpu1", 32, {"cpu": 12}),
        ("memory1", 128, {"memory": 4}),
        ("balanced1", 64, {"io": 50, "general": 10}),
    ],
)
def test_the_three_profiles_whatever_the_kernel_keeps(model, host, nominal, expected, shown):
    groups, cores, _ = HOSTS[host]
    hardware = {"cores": cores, "memory_mib": math.floor(nominal * GIB * shown)}
    assert tasks(host_plan(model, host, groups, {}, hardware, host)) == expected


LITTLE_MEMORY, FEW_CORES = {"little-memory"}, {"few-cores"}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize(
    ("cores", "gib", "expected"),
    [
        (
            2,
            4,
            {
                "cpu": LITTLE_MEMORY | FEW_CORES,
                "memory": LITTLE_MEMORY | FEW_CORES,
                "general": LITTLE_MEMORY,
            },
        ),
        (4, 8, {"cpu": LITTLE_MEMORY | FEW_CORES, "memory": LITTLE_MEMORY | FEW_CORES}),
        (8, 16, {"memory": LITTLE_MEMORY}),
        (32, 64, {"memory": LITTLE_MEMORY}),
    ],
)
def test_a_server_too_small_for_the_demands_is_refused_pool_by_pool(model, cores, gib, expected, shown):
    assert refusals(model, cores, gib, shown) == expected


@pytest.mark.parametrize("shown", SHOWN)
def test_a_large_server_holds_all_four_pools(model, shown):
    assert tasks(single(model, 64, 512, shown)) == {"cpu": 12, "io": 200, "memory": 4, "general": 40}


@pytest.mark.parametrize(
    ("cores", "gib", "expected"),
    [(8, 16, {"cpu": 1, "io": 14, "general": 3}), (32, 64, {"cpu": 6, "io": 57, "general": 14})],
)
def test_without_the_memory_pool_the_others_fit(model, cores, gib, expected):
    # The figures that are left when the refused pool keeps its share of the server but asks for little.
    model["pools"]["memory"]["demand"] = {"cores": 0.1, "memory_mib": 100}
    found = tasks(single(model, cores, gib))
    assert {name: n for name, n in found.items() if name != "memory"} == expected


shares = st.fractions(0, KERNEL_SHARE, max_denominator=1000)


@given(pool_mixes, machines, shares)
def test_a_share_of_the_memory_takes_at_most_that_share_of_the_tasks(pools, hardware, share):
    """Losing the share e of memory costs a pool that n tasks fit at most e x (n + 1) of them, rounded up."""
    less = Hardware(hardware.cores, hardware.memory_mib * (1 - share))
    before, after = size(pools, hardware, RESERVE), size(pools, less, RESERVE)
    for name in pools:
        lost = before[name].concurrency - after[name].concurrency
        assert 0 <= lost <= math.ceil(share * (before[name].fits["memory"] + 1))


@given(pool_mixes, machines, shares)
def test_a_pool_with_that_much_memory_to_spare_loses_none(pools, hardware, share):
    """A pool that something else bounds keeps its figure as long as what is left over covers the loss."""
    less = Hardware(hardware.cores, hardware.memory_mib * (1 - share))
    before, after = size(pools, hardware, RESERVE), size(pools, less, RESERVE)
    for name, sized in before.items():
        if sized.left["memory"] >= share * sized.budget["memory"]:
            assert after[name].concurrency == sized.concurrency


@given(pool_mixes, machines, st.integers(1, 256).map(Fraction), st.integers(256, 2**21).map(Fraction))
def test_a_container_s_limit_sizes_as_a_machine_of_that_size(pools, hardware, cores, memory):
    limited = Hardware(hardware.cores, hardware.memory_mib, cores, memory)
    smaller = Hardware(min(hardware.cores, cores), min(hardware.memory_mib, memory))
    assert size(pools, limited, RESERVE) == size(pools, smaller, RESERVE)


@given(pool_mixes, machines, st.integers(1, 40))
def test_an_override_is_over_exactly_when_it_breaks_a_budget(pools, hardware, stated):
    name = next(iter(pools))
    pools = {**pools, name: replace(pools[name], concurrency=stated, max_concurrency=None)}
    sized = size(pools, hardware, RESERVE)[name]
    assert (sized.concurrency, sized.bound_by) == (stated, "override")
    assert sized.over == any(left < 0 for left in sized.left.values())
    assert sized.over == (stated > sized.derived)


@given(pool_mixes, machines, st.integers(1, 1000).map(Fraction))
def test_only_the_ratio_of_weights_counts(pools, hardware, factor):
    scaled = {name: replace(pool, weight=pool.weight * factor) for name, pool in pools.items()}
    assert size(scaled, hardware, RESERVE) == size(pools, hardware, RESERVE)
