"""The constants that alerts compare with are those of the model and the plan."""

import copy

import pytest
from fleet.findings import ModelError
from fleet.monitoring.rules import recording_rules
from support.fleet_model import LOADED


def constants(model, hosts, brokers=1, schedulers=1):
    """Return the constants by their names and labels."""
    group, _ = recording_rules(model, hosts, brokers, schedulers)["groups"]
    found = {}
    for rule in group["rules"]:
        key = (rule["record"].removeprefix("celery_fleet:"), *sorted(rule.get("labels", {}).values()))
        assert key not in found, "group_left would fail on a double"
        found[key] = float(rule["expr"].removeprefix("vector(").removesuffix(")"))
    return found


def test_every_pool_queue_and_host_has_its_constants(model, hosts):
    found = constants(model, hosts)
    for name, pool in model["pools"].items():
        assert found["time_limit_seconds", name] == pool["time_limit"]
        assert found["wait_target_seconds", name, "warning"] == pool["soft_time_limit"]
        assert found["failure_ratio", name, "warning"] == 0.1
        for queue, fields in pool["queues"].items():
            assert found["queue_max_length", *sorted((queue, name))] == fields["max_length"]
    assert found["planned_slots", "cpu", "cpu1"] == 12
    assert found["planned_slots", "balanced1", "io"] == 50
    assert found["planned_memory_bytes", "cpu", "cpu1"] == 28891 * 1024**2
    assert found["dead_letter_length", "cpu_tasks_dead"] == 10_000
    assert found["dead_letter_length", "io_tasks_dead"] == 25_000


def test_a_pool_says_how_long_its_tasks_may_wait_and_who_is_told(model, hosts):
    model["environment_pools"] = {"io": {"wait_target": 20, "failure_ratio": 0.5, "severity": "critical"}}
    found = constants(model, hosts)
    assert found["wait_target_seconds", "critical", "io"] == 20
    assert found["failure_ratio", "critical", "io"] == 0.5


def test_a_queue_without_a_limit_is_never_full(model, hosts):
    model["pools"]["io"]["queues"]["io_api_calls"]["max_length"] = None
    found = constants(model, hosts)
    assert ("queue_max_length", "io", "io_api_calls") not in found
    assert ("queue_pool", "io", "io_api_calls") in found


def test_the_longest_limit_of_all_hosts_counts(model, hosts):
    hosts["balanced1"]["pools"] = {"io": {"time_limit": 900, "soft_time_limit": 800}}
    found = constants(model, hosts)
    assert (found["time_limit_seconds", "io"], found["soft_time_limit_seconds", "io"]) == (900, 800)


def test_of_a_pool_that_scales_the_fewest_slots_are_planned(model, hosts):
    model["environment_pools"] = {"io": {"autoscale": {"enabled": True, "min": 20, "max": 40}}}
    assert constants(model, hosts)["planned_slots", "balanced1", "io"] == 20


def test_a_host_of_unknown_hardware_has_no_plan(model, hosts):
    del hosts["cpu1"]["hardware"]
    assert ("planned_slots", "cpu", "cpu1") not in constants(model, hosts)


@pytest.mark.parametrize(
    ("entry", "late"),
    [
        ({"every": 300}, 300),
        ({"every": 300, "late": 7}, 7),
        ({"every": 2}, 60),
        ({"crontab": "0 1 * * *"}, 3600),
    ],
)
def test_an_entry_is_late_when_it_says_so(model, hosts, entry, late):
    model["schedule"] = {"night": {"task": "a.b", **entry}}
    assert constants(model, hosts)["entry_late_seconds", "night"] == late


def test_a_single_broker_is_not_the_last_of_a_majority(model, hosts):
    one, three = constants(model, hosts), constants(model, hosts, brokers=3)
    assert (one["brokers_needed",], ("brokers_last",) in one) == (1, False)
    assert (three["brokers_needed",], three["brokers_last",], three["brokers",]) == (2, 2, 3)


def test_nobody_misses_a_scheduler_where_there_is_none(model, hosts):
    assert ("schedulers",) not in constants(model, hosts, schedulers=0)


def test_a_faulty_model_is_refused(hosts):
    model = copy.deepcopy(LOADED)
    model["environment_pools"] = {"io": {"wait_target": 0}}
    with pytest.raises(ModelError, match="wait_target"):
        recording_rules(model, hosts, 1, 0)
