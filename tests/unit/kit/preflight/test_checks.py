"""What an inventory and its hosts are refused for."""

import pytest
from fleet.preflight.checks import find


def ids(findings):
    return {(finding.id, finding.severity, finding.where) for finding in findings}


def test_a_sound_fleet_has_no_finding(model, hosts, groups):
    assert list(find(model, hosts, groups)) == []


@pytest.mark.parametrize("name", ["brokers", "workers"])
def test_a_missing_group(model, hosts, groups, name):
    groups[f"{name[:-1]}x"] = groups.pop(name)
    found = [finding for finding in find(model, hosts, groups) if finding.id == "inventory/missing-group"]
    assert [finding.variable for finding in found] == [f"groups.{name}"]
    assert f"{name[:-1]}x" in found[0].reason


def test_a_profile_without_a_group(model, hosts, groups):
    del groups["memory_servers"]
    found = next(finding for finding in find(model, hosts, groups))
    assert (found.id, found.variable) == ("inventory/missing-group", "fleet_profiles.memory_servers")


@pytest.mark.parametrize("name", ["brokers", "workers"])
def test_an_empty_group(model, hosts, groups, name):
    groups[name] = []
    assert "inventory/empty-group" in {finding.id for finding in find(model, hosts, groups).errors}


def test_a_profile_host_outside_workers(model, hosts, groups):
    groups["workers"].remove("cpu1")
    assert ("inventory/outside-workers", "error", "cpu1") in ids(find(model, hosts, groups))


def test_an_even_number_of_brokers(model, hosts, groups):
    groups["brokers"].append("broker2")
    assert ids(find(model, hosts, groups)) == {("inventory/even-brokers", "warning", "the inventory")}


def test_two_hosts_of_one_name(model, hosts, groups):
    hosts["memory1"]["nodename"] = "cpu1"
    assert ids(find(model, hosts, groups)) == {("inventory/duplicate-node", "error", "memory1")}


def test_a_worker_without_a_pool_and_a_pool_without_a_worker(model, hosts, groups):
    hosts["memory1"]["groups"] = ["workers"]
    assert {finding.id for finding in find(model, hosts, groups)} == {
        "inventory/idle-worker",
        "queue/no-consumer",
    }


def test_too_little_memory_for_one_task(model, hosts, groups):
    hosts["memory1"]["hardware"] = {"cores": 8, "memory_mib": 16000}
    (found,) = find(model, hosts, groups)
    assert (found.id, found.where) == ("sizing/too-little-memory", "memory1")
    assert found.variable == "fleet_pools.memory.demand.memory_mib"
    assert "14400 MiB" in found.reason


def test_too_few_cores(model, hosts, groups):
    hosts["cpu1"]["hardware"] = {"cores": 1, "memory_mib": 32102}
    assert ids(find(model, hosts, groups)) == {("sizing/too-few-cores", "error", "cpu1")}


def test_one_concurrency_for_all(model, hosts, groups):
    model["pool_defaults"]["concurrency"] = 50
    found = {(f.id, f.variable, f.where) for f in find(model, hosts, groups).errors}
    assert ("mistake/more-tasks-than-cores", "fleet_pool_defaults.concurrency", "cpu1") in found
    assert ("sizing/over-budget", "fleet_pool_defaults.concurrency", "memory1") in found


def test_unknown_facts_skip_sizing(model, hosts, groups):
    for host in hosts.values():
        host["hardware"] = host["nodename"] = host["distribution"] = None
    model["pools"]["cpu"]["demand"]["cores"] = 1000
    assert list(find(model, hosts, groups)) == []


@pytest.mark.parametrize(
    ("name", "version", "allowed", "expected"),
    [
        ("Debian", "12", False, set()),
        ("Debian", "12.11", False, set()),
        ("Debian", "13", False, set()),
        ("Ubuntu", "22.04", False, {("os/untested", "warning")}),
        ("Ubuntu", "24.04", True, {("os/untested", "warning")}),
        ("Debian", "11", False, {("os/unsupported", "error")}),
        ("Debian", "120", False, {("os/unsupported", "error")}),
        ("Rocky", "9.4", False, {("os/unsupported", "error")}),
        ("Rocky", "9.4", True, {("os/unsupported", "warning")}),
    ],
)
def test_distributions(model, hosts, groups, name, version, allowed, expected):
    hosts["cpu1"] |= {"distribution": name, "distribution_version": version}
    found = find(model, hosts, groups, allow_untested_os=allowed)
    assert {(finding.id, finding.severity) for finding in found} == expected
    assert all(finding.where == "cpu1" for finding in found)


def test_a_broker_is_looked_at_for_its_system_only(model, hosts, groups):
    hosts["broker1"] = hosts["cpu1"] | {
        "groups": ["brokers"],
        "hardware": {"cores": 1, "memory_mib": 500},
        "nodename": "broker1",
        "distribution": "Rocky",
        "distribution_version": "9",
    }
    assert ids(find(model, hosts, groups)) == {
        ("os/unsupported", "error", "broker1"),
        ("versions/unknown", "warning", "broker1"),
    }


RESULTS = {"nodes": ["10.0.0.9"], "port": 6390, "memory": 0.1}


@pytest.mark.parametrize(
    ("host", "memory", "reserve", "watermark", "fits"),
    [
        ("client1", 0.4, 0.1, None, True),
        ("client1", 0.5, 0.1, None, False),
        ("cpu1", 0.1, 0.1, None, False),
        ("cpu1", 0.1, 0.25, None, True),
        ("broker1", 0.25, 0.1, None, True),
        ("broker1", 0.3, 0.1, None, False),
        ("broker1", 0.3, 0.1, 0.3, True),
    ],
)
def test_results_fit_their_host(model, hosts, groups, host, memory, reserve, watermark, fits):
    """While the file is rewritten they take twice as much, beside the pools, the broker and the system."""
    model["results"] = {**RESULTS, "memory": memory}
    model["reserve"] = {**model["reserve"], "memory": reserve}
    groups["results"] = [host]
    if watermark:
        hosts.setdefault(host, {"groups": ["brokers"]})["broker_memory"] = watermark
    found = [each for each in find(model, hosts, groups) if each.id == "results/no-memory"]
    assert [each.where for each in found] == ([] if fits else [host])


def test_results_need_a_library(model, hosts, groups):
    lock = {"versions": {"celery": "5.7.0", "kombu": "5.7.0"}, "lock": "requirements.lock"}
    assert not list(find(model, hosts, groups, application=lock))
    model["results"] = RESULTS
    (found,) = find(model, hosts, groups, application=lock)
    assert (found.id, found.where) == ("results/no-library", "requirements.lock")
    lock["versions"]["redis"] = "8.1.0"
    assert not list(find(model, hosts, groups, application=lock))
