"""Thousands of models and inventories that nobody would write: each gives a plan or findings, and an end."""

import collections
import copy
import datetime
import json
import os
import random

import pytest
from fleet.broker.topology import topology
from fleet.catalogue import CATALOGUE
from fleet.files.fleet_file import fleet_file
from fleet.findings import Finding, ModelError, report
from fleet.plan.fleet import fleet_plan
from fleet.plan.tables import fleet_text
from fleet.preflight.checks import find
from support.fleet_model import HOSTS, LOADED, host_plan

SEED = int(os.environ.get("FUZZ_SEED", "20260101"))
BATCHES = 25
CASES = 100

WORDS = ("", " ", "cpu", "io_api_calls", "1", "-", "a.b", "#", "amq.x", "../..", "x" * 300, "x" * 100_000)
STRANGE = ("\0", "\n", "日本", "\ud800", "🦄" * 50, "{{ x }}", "%n", "é", "\u202e", "fleet_verify")
NUMBERS = (0, -1, 1, 2, 3600, 10**9, 10**9 + 1, 2**63, -(10**30), 10**5000, 0.5, -0.0, 1e-320, 1e308)
OTHERS = (None, True, False, float("nan"), float("inf"), -float("inf"), b"bytes", datetime.date(2026, 1, 1))


def endless():
    """A mapping and a list that hold each other."""
    found = {"queues": []}
    found["queues"].append(found)
    found["pools"] = found
    return found


def swollen():
    """Few objects that are billions when they are written out."""
    found = ["x"]
    for _ in range(40):
        found = [found, found]
    return found


def deep():
    """More levels than Python may recurse."""
    found = {}
    for _ in range(1_500):
        found = {"pools": found}
    return found


class Odd:
    """An object of no known type."""


MONSTERS = (endless, swollen, deep, Odd, dict, list, tuple, collections.OrderedDict, collections.UserDict)


def junk(source, depth=0):
    kind = source.randrange(8 if depth < 3 else 5)
    if kind < 3:
        return source.choice((WORDS, STRANGE, NUMBERS, OTHERS, NUMBERS)[source.randrange(5)])
    if kind == 3:
        return source.choice((1, -1)) * source.randrange(10 ** source.randrange(1, 12))
    if kind == 4:
        return source.choice(MONSTERS)()
    if kind < 7:
        return {key(source): junk(source, depth + 1) for _ in range(source.randrange(4))}
    return [junk(source, depth + 1) for _ in range(source.randrange(4))]


def key(source):
    return source.choice(
        (*WORDS[:-1], *STRANGE, 1, None, 10**5000, True, "io", "memory", "routing_key", "pools")
    )


def containers(data):
    """Every mapping and list in nested data that is not empty, each once."""
    found, ahead = {}, [data]
    while ahead:
        here = ahead.pop()
        if id(here) not in found and isinstance(here, dict | list) and here:
            found[id(here)] = here
            ahead += here.values() if isinstance(here, dict) else here
    return list(found.values())


def mutate(source, data):
    """Change data in one to five places, some of them so that it contains itself."""
    for _ in range(source.randrange(1, 6)):
        places = containers(data)
        if not places:
            return
        target = source.choice(places)
        at = source.choice(list(target) if isinstance(target, dict) else range(len(target)))
        match source.randrange(9):
            case 0:
                del target[at]
            case 1:
                target[at] = source.choice(places)
            case 2:
                target[at] = copy.copy(source.choice(places))
            case 3 | 4 if isinstance(target, dict):
                target[key(source)] = junk(source)
            case 5 | 6 if isinstance(target[at], int | float):
                target[at] = source.choice(
                    (target[at] * 10, -target[at], target[at] + 1, source.choice(NUMBERS))
                )
            case _:
                target[at] = junk(source)


def attempt(function, *args, **kwargs):
    """Return a function's result, or none after a rejection that says why."""
    try:
        return function(*args, **kwargs)
    except ModelError as refusal:
        assert_told(refusal.findings)
        assert "error" in {finding.severity for finding in refusal.findings}
        return None


def assert_told(findings):
    for finding in findings:
        assert isinstance(finding, Finding)
        assert finding.id in CATALOGUE
        assert all([finding.variable, finding.value, finding.where, finding.reason, finding.remedy])
        assert len(finding.value) <= 120
        assert finding.value.isprintable()
    text = report(findings)
    assert len(text) < 2000 * (len(findings) + 1)


def assert_sound(plan):
    """What must hold of any plan, of however odd a model."""
    json.dumps(plan)
    for pool in plan["pools"].values():
        most = pool["autoscale"]["max"] if pool["autoscale"]["enabled"] else pool["concurrency"]
        assert pool["concurrency"] == most >= 1
        assert pool["stop_timeout"] > pool["time_limit"] > 0
        assert pool["consumer_timeout_ms"] > 1000 * pool["time_limit"] * pool["prefetch_multiplier"]
    memory = sum(pool["concurrency"] * pool["demand"]["memory_mib"] for pool in plan["pools"].values())
    assert memory <= plan["hardware"]["memory_mib"] * (1 + 1e-9)


def case(source):
    """A fleet that is broken somewhere: in its model mostly, in its hosts, groups or the rest sometimes."""
    hosts = {
        host: {
            "groups": list(groups),
            "pools": source.choice(({}, {}, {"io": {"concurrency": 8}}, {"cpu": {"time_limit": 7200}})),
            "hardware": {"cores": cores, "memory_mib": memory},
            "nodename": host,
            "distribution": "Debian",
            "distribution_version": "13.1",
            "gathered": True,
        }
        for host, (groups, cores, memory) in HOSTS.items()
    }
    data = {
        "model": copy.deepcopy(LOADED),
        "hosts": hosts,
        "groups": {
            "brokers": ["broker1"],
            "workers": list(HOSTS),
            **{g[0]: [h] for h, (g, _, _) in HOSTS.items()},
        },
        "more": {
            "application": {"versions": {"celery": "5.7.0", "kombu": "5.7.0"}, "lock": "requirements.lock"},
            "variables": {"worker_x": {"hosts": ["cpu1"], "near": ["worker_y"], "file": "a.yml"}},
        },
    }
    data["model"]["accepted"] = {"limits/not-enforced": "calls have timeouts"}
    part = source.choice(("model",) * 5 + ("hosts", "groups", "more"))
    mutate(
        source,
        data if source.randrange(50) == 0 else {part: data[part]} if source.randrange(9) == 0 else data[part],
    )
    return data


def try_out(data, host):
    model, hosts = data.get("model"), data.get("hosts")
    more = data.get("more")
    more = more if isinstance(more, dict) else {}
    found = find(
        model,
        hosts,
        data.get("groups"),
        contacted=True,
        application=more.get("application"),
        variables=more.get("variables"),
    )
    assert_told(list(found))
    given = hosts.get(host) if isinstance(hosts, dict) else None
    given = given if isinstance(given, dict) else {}
    plan = attempt(
        host_plan,
        model,
        host,
        HOSTS[host][0],
        given.get("pools"),
        given.get("hardware"),
        given.get("nodename"),
    )
    if plan is not None:
        assert_sound(plan)
    declared = attempt(topology, model, hosts)
    if declared is not None:
        json.dumps(declared)
    whole = attempt(fleet_file, model)
    if whole is not None:
        json.dumps(whole)
    return plan is not None


@pytest.mark.parametrize(
    "batch", [*range(5), *(pytest.param(batch, marks=pytest.mark.further) for batch in range(5, BATCHES))]
)
def test_any_fleet_is_planned_or_told_what_is_wrong(batch):
    planned = 0
    for number in range(CASES):
        name = f"{SEED}/{batch}/{number}"
        source = random.Random(name)
        data = case(source)
        try:
            planned += try_out(data, source.choice(list(HOSTS)))
        except BaseException as error:
            error.add_note(f"case {name}; repeat with FUZZ_SEED={SEED}")
            raise
    # A fuzzer that breaks everything, or nothing, tries little.
    assert CASES // 20 < planned < CASES


def test_a_plan_of_the_whole_fleet_survives_as_well():
    for number in range(100):
        source = random.Random(f"{SEED}/fleet/{number}")
        data = case(source)
        document = attempt(fleet_plan, data["model"], {host: {} for host in HOSTS})
        if document is not None:
            json.dumps(document)
            assert fleet_text(document)
