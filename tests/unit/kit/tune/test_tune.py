"""What tasks used against the model: what is proposed, what is not, and that a proposal settles it."""

from __future__ import annotations

import copy
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet.host.metrics import RUNTIME_EDGES
from fleet.model.read import read_model
from fleet.tune import figures, layer
from fleet.tune.document import tune
from fleet.tune.screen import text
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleet_model import HOSTS, LOADED

DAY = 86_400.0
KNOWN = {
    name: {
        "groups": groups,
        "pools": {},
        "hardware": {"cores": cores, "memory_mib": memory},
        "nodename": name,
    }
    for name, (groups, cores, memory) in HOSTS.items()
}


def task(count: float, seconds: float, limited: float = 0) -> dict[str, Any]:
    buckets = [0.0] * (len(RUNTIME_EDGES) + 1)
    buckets[bisect_left(RUNTIME_EDGES, seconds)] = count
    return {"ended": count, "limited": limited, "runtime_s": count * seconds, "buckets": buckets}


def used(
    tasks: dict[str, dict[str, Any]],
    cores: float = 0.06,
    mib: float = 200,
    slot_s: float = 50 * DAY,
    **more: object,
) -> dict[str, Any]:
    """What a host says of a pool whose tasks had this demand."""
    busy = sum(each["runtime_s"] for each in tasks.values())
    return {
        "span_s": DAY,
        "busy_s": busy,
        "slot_s": slot_s,
        "held_s": 0.0,
        "held": sum(each["ended"] for each in tasks.values()),
        "exits": {"recycled": 0.0, "killed": 0.0, "error": 0.0},
        "tasks": tasks,
        "cpu_s": cores * busy,
        "memory_mib": 900.0,
        "memory_peak_mib": 1000.0,
        "oom_kills": 0,
        "main_mib": 0.0,
        "children": [{"mib": mib, "age_s": DAY}] * 50,
        "own_limits": {},
        **more,
    }


def compared(io: dict[str, Any], model: Any = LOADED, **more: Any) -> dict[str, Any]:
    return tune(model, KNOWN, {"balanced1": {"pools": {"io": io, **more}}})


def row(document: dict[str, Any], figure: str, pool: str = "io", host: str | None = None) -> dict[str, Any]:
    [found] = [
        each
        for each in document["figures"]
        if (each["pool"], each["figure"], each["host"]) == (pool, figure, host)
    ]
    return found


# An hour of slots each second: enough work that what an idle worker uses does not count.
GOOD = {"shop.fetch": task(100_000, 20)}


def test_a_model_that_is_true_gets_no_proposal() -> None:
    document = compared(used(GOOD))
    assert [each["proposal"] for each in document["figures"]] == [{}] * 5
    assert document["tuned"] == {} and document["plan"] == []
    assert document["hosts"] == {"cpu1": "not asked", "memory1": "not asked", "balanced1": "read"}


def test_demands_that_differ_are_proposed_with_their_sample_and_what_the_plan_becomes() -> None:
    document = compared(used(GOOD, cores=0.12, mib=800))
    cores, memory = row(document, "demand.cores"), row(document, "demand.memory_mib")
    assert cores["proposal"] == {"demand.cores": 0.12}
    assert cores["measured"] == pytest.approx(0.12)
    assert (cores["tasks"], cores["span_s"], cores["hosts"]) == (100_000, DAY, 1)
    assert memory["proposal"] == {"demand.memory_mib": 1000}
    assert document["tuned"] == {"io": {"demand": {"cores": 0.12, "memory_mib": 1000}}}
    then = {(each["pool"], each["field"]): (each["now"], each["then"]) for each in document["plan"]}
    assert then["io", "concurrency"] == (50, 25)
    assert then["io", "prefetch_count"] == (500, 250)
    assert "balanced1: io: concurrency 50 → 25" in text(document)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tasks": {"shop.fetch": task(99, 20_000)}}, "too few tasks"),
        ({"span_s": 3599.0}, "too short"),
        ({"tasks": {"shop.fetch": task(400, 1)}, "busy_s": 400.0, "cpu_s": 60.0}, "too idle"),
        ({"cpu_s": None}, "the kernel does not tell"),
        ({"tasks": {}, "busy_s": 0.0}, "no task ran"),
    ],
)
def test_too_small_a_sample_proposes_no_cores_and_says_why(change: dict[str, Any], why: str) -> None:
    document = compared({**used(GOOD, cores=0.5), **change})
    found = row(document, "demand.cores")
    assert (found["proposal"], document["tuned"].get("io", {}).get("demand", {}).get("cores")) == ({}, None)
    assert why in found["note"]


def test_processes_that_have_just_begun_say_nothing_of_memory() -> None:
    fresh = [{"mib": 60.0, "age_s": 1.0}] * 50
    found = row(compared(used(GOOD, children=fresh)), "demand.memory_mib")
    assert (found["proposal"], found["tasks"]) == ({}, 1)
    assert "too few tasks" in found["note"]


def test_no_less_memory_is_proposed_where_the_kernel_killed_for_want_of_it() -> None:
    assert row(compared(used(GOOD, mib=50)), "demand.memory_mib")["proposal"] == {"demand.memory_mib": 63}
    found = row(compared(used(GOOD, mib=50, oom_kills=1)), "demand.memory_mib")
    assert found["proposal"] == {} and "killed" in found["note"]


def test_a_limit_that_tasks_reach_is_raised_and_one_far_above_them_lowered() -> None:
    near = compared(used({"shop.fetch": task(5000, 235, limited=40)}))
    proposal = row(near, "soft_time_limit")["proposal"]
    assert proposal["soft_time_limit"] >= 2 * 235 and proposal["time_limit"] > proposal["soft_time_limit"]
    assert "40 ended by a limit" in row(near, "soft_time_limit")["note"]
    far = compared(used({"shop.fetch": task(2_000_000, 0.9)}))
    assert row(far, "soft_time_limit")["proposal"] == {"soft_time_limit": 60, "time_limit": 75}
    rare = compared(used({"shop.fetch": task(999, 0.9)}))
    assert row(rare, "soft_time_limit")["proposal"] == {}


def test_tasks_that_wait_in_a_worker_are_held_by_fewer() -> None:
    found = row(compared(used(GOOD, held_s=100_000 * 90.0)), "prefetch_multiplier")
    assert found["proposal"] == {"prefetch_multiplier": 1}
    quick = {"shop.ping": task(100_000, 0.2)}
    found = row(compared(used(quick, held_s=100_000 * 1.5)), "prefetch_multiplier")
    assert found["proposal"] == {"prefetch_multiplier": 5}


def test_processes_replaced_too_early_are_told() -> None:
    exits = {"recycled": 1000.0, "killed": 2.0, "error": 0.0}
    found = row(compared(used(GOOD, exits=exits)), "max_tasks_per_child")
    assert found["measured"] == 100 and "grown beyond demand.memory_mib" in found["note"]


def test_what_a_host_says_for_itself_is_measured_there_and_left_to_a_person() -> None:
    hosts = copy.deepcopy(KNOWN)
    hosts["balanced2"] = {**hosts["balanced1"], "pools": {"io": {"demand": {"cores": 0.1}}}, "nodename": "b2"}
    told = {
        "balanced1": {"pools": {"io": used(GOOD, cores=0.06)}},
        "balanced2": {"pools": {"io": used(GOOD, cores=0.02)}},
    }
    document = tune(LOADED, hosts, told)
    assert row(document, "demand.cores")["proposal"] == {}
    own = row(document, "demand.cores", host="balanced2")
    assert (own["proposal"], own["by_layer"]) == ({"demand.cores": 0.02}, False)
    assert document["tuned"] == {}
    assert {(each["host"], each["field"]) for each in document["plan"]} >= {("balanced2", "concurrency")}
    assert "change it in fleet_host_pools.io" in text(document)


def test_what_an_environment_or_a_profile_says_stays_and_is_shown() -> None:
    model = copy.deepcopy(LOADED)
    model["environment_pools"] = {"io": {"demand": {"cores": 0.06}}}
    model["profiles"]["balanced_servers"]["pools"]["io"] = {"soft_time_limit": 200}
    document = compared(used({"shop.fetch": task(100_000, 190)}, cores=0.12), model)
    assert document["tuned"] == {}
    places = {
        each["figure"]: set(each["set_by"].values()) for each in document["figures"] if each["proposal"]
    }
    assert places["demand.cores"] == {"fleet_environment_pools.io"}
    assert "fleet_profiles.balanced_servers.pools.io" in places["soft_time_limit"]
    assert {each["field"] for each in document["plan"]} >= {"concurrency", "soft_time_limit"}


def test_a_proposal_that_the_model_would_refuse_is_not_written() -> None:
    document = compared(used(GOOD, cores=3.5))
    found = row(document, "demand.cores")
    assert "need" in found["refused"]
    assert document["tuned"] == {}
    assert f"refused: {found['refused']}" in text(document)


def test_tasks_that_do_not_fit_their_pool_are_named() -> None:
    tasks = {"shop.ping": task(100_000, 0.2), "shop.report": task(40, 90), "shop.rare": task(3, 90)}
    misfits = compared(used(tasks, own_limits={"shop.report": 900, "shop.ping": 300}))["misfits"]
    assert [each["task"] for each in misfits] == ["shop.report", "shop.report"]
    assert "half of the pool's tasks" in misfits[0]["why"]
    assert misfits[1]["why"] == "its own limit of 900 s exceeds the pool's 300 s"


def test_the_shares_of_a_host_are_shown() -> None:
    document = compared(used(GOOD), general=used({"shop.tidy": task(10_000, 20)}, cores=0.3, slot_s=10 * DAY))
    shares = {each["pool"]: each for each in document["shares"]}
    assert (shares["io"]["share"], shares["general"]["share"]) == (0.5, 0.5)
    assert shares["io"]["cpu"] == pytest.approx(2 / 3)
    assert shares["io"]["busy"] == pytest.approx(2_000_000 / (50 * DAY))


RUNTIMES = st.floats(0.005, 20_000, allow_nan=False)
TASKS = st.dictionaries(
    st.sampled_from(["shop.a", "shop.b", "shop.c"]),
    st.builds(task, st.integers(1, 10**6), RUNTIMES, st.integers(0, 1)),
    min_size=1,
)
USED = st.builds(
    used,
    TASKS,
    cores=st.floats(0, 4),
    mib=st.floats(1, 40_000),
    slot_s=st.floats(1, 10**9),
    span_s=st.floats(0, 10**7),
    held_s=st.floats(0, 10**9),
    oom_kills=st.integers(0, 2),
    exits=st.fixed_dictionaries(
        {"recycled": st.floats(0, 10**5), "killed": st.just(0.0), "error": st.just(0.0)}
    ),
)


@settings(max_examples=60)
@given(USED, USED)
def test_proposals_pass_the_models_own_check_and_settle_the_matter(io: Any, general: Any) -> None:
    document = compared(io, general=general)
    least = figures.Least()
    for each in document["figures"]:
        if each["proposal"]:
            assert each["tasks"] >= least.tasks and each["span_s"] >= least.span_s
    if not document["tuned"]:
        return
    model = {**LOADED, "tuned_pools": document["tuned"]}
    assert not read_model(model)[1].errors
    again = compared(io, model, general=general)
    assert [each for each in again["figures"] if each["proposal"] and not each["refused"]] == []
    assert again["tuned"] == {} and again["plan"] == []


def test_the_layer_is_written_beside_the_inventory_and_never_over_another_file(tmp_path: Path) -> None:
    path = layer.place(tmp_path)
    assert path == tmp_path / "group_vars/all/fleet_tuned.yml"
    tuned = {"io": {"demand": {"cores": 0.12}}}
    content = layer.written(tuned, path)
    assert yaml.safe_load(content) == {"fleet_tuned_pools": tuned}
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert layer.written(tuned, path) == content
    path.write_text("fleet_tuned_pools: {}\n")
    with pytest.raises(layer.LayerError, match="not made by tune"):
        layer.written(tuned, path)


def test_a_directory_that_would_hide_the_inventorys_variables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text("fleet_app: {}\n")
    with pytest.raises(layer.LayerError, match=r"move it to .*group_vars/all/fleet\.yml"):
        layer.place(tmp_path)
    (tmp_path / "group_vars/all").mkdir()
    assert layer.place(tmp_path).parent.is_dir()


@pytest.mark.parametrize(
    ("value", "two"), [(0.0601, 0.061), (0.06, 0.06), (1234, 1300), (99.1, 100), (250, 250), (0, 0), (7, 7)]
)
def test_figures_have_two_digits_and_are_never_less(value: float, two: float) -> None:
    assert figures.rounded(value) == two
