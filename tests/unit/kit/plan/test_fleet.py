"""The plan of a whole fleet: hosts that are declared, limited, unknown or refused, and what would change."""

import copy
import json

import pytest
from fleet.files.worker import worker
from fleet.findings import Findings, ModelError
from fleet.host.machine import Machine
from fleet.host.records import Worker, keep
from fleet.host.records import installed as installed_on
from fleet.model.host import read_host
from fleet.plan.fleet import fleet_plan
from fleet.plan.hardware import read_hardware
from fleet.plan.installed import changes, plan_figures
from fleet.plan.ranges import host_ranges
from fleet.plan.tables import fleet_text

DECLARED = {"declared": {"cores": 16, "memory_gib": 32}}


def cpu_host(**given):
    return {"groups": ["cpu_servers"], "pools": {}, "hardware": DECLARED} | given


def entry(model, **given):
    return fleet_plan(model, {"c1": cpu_host(**given)})["hosts"][0]


def installed(model, **given):
    """What a host has on which the plan was carried out."""
    pools = entry(model, **given)["pools"]
    return {name: {"figures": plan_figures(pool), "releases": ["r1"]} for name, pool in pools.items()}


def test_a_declared_host_is_planned_like_one_with_facts(model):
    found = entry(model)
    assert (found["state"], found["hardware"]["declared"]) == ("planned", True)
    assert found["hardware"]["memory_mib"] == 32 * 1024
    assert found["pools"]["cpu"]["concurrency"] == 12


def test_facts_win_over_the_declaration_and_the_difference_is_told(model):
    document = fleet_plan(model, {"c1": cpu_host(hardware={"cores": 8, "memory_mib": 32000, **DECLARED})})
    assert document["hosts"][0]["pools"]["cpu"]["concurrency"] == 6
    (found,) = document["findings"]
    assert (found["id"], found["severity"], found["where"]) == (
        "hardware/differs-from-declaration",
        "warning",
        "c1",
    )
    assert "8 cores and 32000 MiB" in found["reason"]


@pytest.mark.parametrize(
    ("memory", "differs"), [(32768, False), (32102, False), (30500, False), (30400, True), (36000, True)]
)
def test_what_a_kernel_keeps_is_no_difference(memory, differs):
    findings = Findings()
    hardware = {"cores": 16, "memory_mib": memory, **DECLARED}
    read_hardware(read_host({"hardware": hardware}, "c1"), findings)
    assert bool(list(findings)) == differs


@pytest.mark.parametrize(
    "declared",
    [
        7,
        {},
        [],
        {"cores": 4},
        {"cores": 4, "memory_gib": 0},
        {"cores": True, "memory_gib": 4},
        {"cores": 4, "memory_mib": 4096},
        {"cores": 4, "memory_gib": 4, "disk": 1},
        {"cores": "4", "memory_gib": 4},
    ],
)
def test_a_declaration_that_is_none(model, declared):
    document = fleet_plan(model, {"c1": cpu_host(hardware={"declared": declared})})
    assert [finding["id"] for finding in document["findings"]] == ["hardware/bad-declaration"]
    assert document["hosts"][0]["state"] == "refused"
    json.dumps(document)
    fleet_text(document)


def test_a_host_of_which_nothing_is_known(model):
    document = fleet_plan(model, {"c1": cpu_host(), "c2": cpu_host(hardware=None)})
    assert [host["state"] for host in document["hosts"]] == ["planned", "unknown"]
    assert document["findings"] == []
    assert "c2: unknown: not reached, and no fleet_hardware declares it" in fleet_text(document)


def test_a_host_that_cannot_hold_its_pools_does_not_hide_the_others(model):
    document = fleet_plan(model, {"c1": cpu_host(hardware={"cores": 1, "memory_mib": 900}), "c2": cpu_host()})
    assert [host["state"] for host in document["hosts"]] == ["refused", "planned"]
    assert {finding["id"] for finding in document["findings"]} == {
        "sizing/too-few-cores",
        "sizing/too-little-memory",
    }
    assert document["hosts"][0]["changes"] is None


def test_a_broken_model_is_refused_as_a_whole(model):
    del model["pools"]["io"]["time_limit"]
    with pytest.raises(ModelError, match="limits/missing"):
        fleet_plan(model, {"c1": cpu_host()})


@pytest.mark.parametrize(
    ("limits", "tasks", "limited"),
    [
        ({"cores": None, "memory_mib": None}, 12, []),
        ({"cores": 4, "memory_mib": None}, 3, ["cores"]),
        ({"cores": None, "memory_mib": 8192}, 3, ["memory"]),
        ({"cores": 1.5, "memory_mib": 8192}, 1, ["cores", "memory"]),
        ({"cores": 64, "memory_mib": 8796093022207}, 12, []),
        ({}, 12, []),
        (None, 12, []),
    ],
)
def test_limits_of_a_container_count_where_they_are_lower(model, limits, tasks, limited):
    found = entry(model, hardware={"cores": 16, "memory_mib": 32102, "limits": limits})
    assert found["pools"]["cpu"]["concurrency"] == tasks
    assert found["hardware"]["limited"] == limited


def test_libraries_count_the_cores_that_they_see(model):
    limited = entry(model, hardware={"cores": 16, "memory_mib": 32102, "limits": {"cores": 4}})
    pool = limited["pools"]["cpu"]
    assert pool["tasks_max"] == 2 * (64 + 3 * (8 + 2 * 16))


def test_overrides_say_what_they_replaced_and_where_they_stand(model):
    model["environment_pools"] = {
        "cpu": {"time_limit": 4000, "queues": {"cpu_ml_training": {"max_length": 7}}}
    }
    model["profiles"]["cpu_servers"]["pools"]["cpu"] = {"environment": {"TOKEN": "hush"}, "weight": 1}
    found = entry(model, pools={"cpu": {"concurrency": 8, "demand": {"cores": 0.5}}})
    overrides = {o["field"]: (o["value"], o["replaced"], o["by"]) for o in found["pools"]["cpu"]["overrides"]}
    assert overrides == {
        "concurrency": (8, 14, "fleet_host_pools.cpu"),
        "demand.cores": (0.5, 1, "fleet_host_pools.cpu"),
        "time_limit": (4000, 3600, "fleet_environment_pools.cpu"),
        "queues.cpu_ml_training.max_length": (7, 100, "fleet_environment_pools.cpu"),
        "environment.TOKEN": (None, None, "fleet_profiles.cpu_servers.pools.cpu"),
    }


def test_values_of_environments_are_in_neither_form(model):
    model["pools"]["cpu"]["environment"] = {"TOKEN": "hush-1"}
    document = fleet_plan(model, {"c1": cpu_host(pools={"cpu": {"environment": {"KEY": "hush-2"}}})})
    assert "hush" not in json.dumps(document) + fleet_text(document)
    assert document["hosts"][0]["pools"]["cpu"]["environment"] == ["KEY", "TOKEN"]


def test_the_top_of_autoscale_shows_what_would_fit(model):
    model["pools"]["cpu"]["autoscale"]["enabled"] = True
    found = entry(model)["pools"]["cpu"]
    assert found["overrides"] == [
        {"field": "autoscale.max", "value": 8, "replaced": 12, "by": "fleet_pools.cpu"}
    ]
    assert "2-8" in fleet_text(fleet_plan(model, {"c1": cpu_host()}))


@pytest.mark.parametrize("execution", ["prefork", "gevent", "threads"])
@pytest.mark.parametrize("autoscale", [False, True])
def test_what_a_host_has_on_record_is_no_change(model, execution, autoscale, tmp_path):
    if autoscale and execution != "prefork":
        model["pools"]["cpu"]["concurrency"] = 3
    else:
        model["pools"]["cpu"]["autoscale"]["enabled"] = autoscale
    model["pools"]["cpu"]["execution"] = execution
    pool = {**entry(model)["pools"]["cpu"], "environment": {"HUSH": "a secret"}}
    given = worker(pool, "r1", "0123", "[Service]\nEnvironment=HUSH=a secret\n", "")
    del given["slice"]
    host = Machine(tmp_path, lambda *_: "")
    keep(host, "cpu", Worker(**given))
    host.serve({"cpu": {"release": "r1"}})
    found = installed_on(host)
    assert found == {"cpu": {"figures": plan_figures(pool), "releases": []}}
    assert "secret" not in json.dumps(found)
    assert changes({"cpu": pool}, {"cpu": {**found["cpu"], "releases": ["r1"]}}) == {
        "cpu": {"action": "keep", "fields": {}}
    }


def test_a_worker_of_an_earlier_kit_is_replaced(model):
    now = installed(model)
    now["cpu"]["figures"] = None
    assert entry(model, installed=now)["changes"]["cpu"] == {
        "action": "change",
        "fields": {"worker": {"now": "of an earlier kit", "then": "of this one"}},
    }


def test_what_would_change(model):
    now = installed(model)
    now["cpu"]["figures"] |= {"concurrency": 8, "memory_max_mib": 14000}
    now["old"] = {"figures": {}, "releases": []}
    document = fleet_plan(
        model, {"c1": cpu_host(installed=now), "c2": cpu_host(installed={}), "c3": cpu_host()}
    )
    assert [host["changes"] for host in document["hosts"]] == [
        {
            "cpu": {
                "action": "change",
                "fields": {
                    "concurrency": {"now": 8, "then": 12},
                    "memory_max_mib": {"now": 14000, "then": 29491},
                },
            },
            "old": {"action": "remove", "fields": {}},
        },
        {"cpu": {"action": "add", "fields": {}}},
        None,
    ]
    text = fleet_text(document)
    assert "c1: ~ cpu: concurrency 8 → 12, memory_max_mib 14000 → 29491" in text
    assert "c1: - old: pool goes" in text
    assert "c2: + cpu: new pool" in text


def test_a_pool_whose_worker_does_not_run_is_a_change(model):
    now = installed(model)
    now["cpu"]["releases"] = []
    assert entry(model, installed=now)["changes"]["cpu"]["fields"] == {
        "running": {"now": "no", "then": "yes"}
    }


def test_hosts_of_which_the_same_is_said_share_their_lines(model):
    hosts = {f"cpu-{at}": cpu_host() for at in range(1, 7)}
    text = fleet_text(fleet_plan(model, hosts))
    assert sum(line.startswith("cpu-") for line in text.splitlines()) == 1
    assert "cpu-[1:6]" in text


def test_the_periodic_tasks_of_the_model_are_shown_without_their_arguments(model):
    model["schedule"] = {
        "tidy": {"task": "shop.tidy", "every": 2.5, "kwargs": {"token": "hush"}},
        "nightly": {"task": "shop.nightly", "crontab": "30 2 * * *", "queue": "general_scheduled"},
    }
    document = fleet_plan(model, {"c1": cpu_host()})
    assert "hush" not in json.dumps(document)
    text = fleet_text(document)
    assert "  tidy: shop.tidy, every 2.5 s\n" in text
    assert "  nightly: shop.nightly, crontab 30 2 * * *, to general_scheduled" in text


def test_the_table_is_aligned_and_fits_a_wide_terminal(model):
    hosts = {"b1": {"groups": ["balanced_servers", "cpu_servers"], "pools": {}, "hardware": DECLARED}}
    lines = fleet_text(fleet_plan(model, hosts)).splitlines()
    (head,) = [line for line in lines if line.startswith("host ")]
    rows = lines[lines.index(head) : lines.index(head) + 4]
    assert {row[head.index("prefetch") - 2 : head.index("prefetch")] for row in rows} == {"  "}
    assert max(map(len, lines)) <= 130


def test_a_thousand_hosts_read_the_model_once(model, monkeypatch):
    from fleet.plan import fleet as module

    reads = []
    read = module.read_model
    monkeypatch.setattr(module, "read_model", lambda raw: reads.append(1) or read(raw))
    fleet_plan(model, {f"c{at}": cpu_host() for at in range(1000)})
    assert len(reads) == 1


def test_the_model_is_left_as_it_was(model):
    before = copy.deepcopy(model)
    fleet_plan(model, {"c1": cpu_host(pools={"cpu": {"concurrency": 8}})})
    assert model == before


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([], []),
        (["x"], ["x"]),
        (["cpu-1", "cpu-2", "cpu-3"], ["cpu-[1:3]"]),
        (["a08.dc1", "a09.dc1", "a10.dc1"], ["a[08:10].dc1"]),
        (["web9", "web10", "db"], ["web[9:10]", "db"]),
        (["dc1-a1", "dc1-a2", "dc1-a4"], ["dc1-a[1:2]", "dc1-a4"]),
        (["a1", "a1"], ["a1"]),
    ],
)
def test_names_as_ranges(hosts, expected):
    assert host_ranges(hosts) == expected
