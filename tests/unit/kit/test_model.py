"""Every fault of a model is found, by its stable name, at its variable; and nothing ever crashes."""

import collections

import pytest
from fleet.catalogue import CATALOGUE
from fleet.findings import ModelError, report, show
from fleet.model import effective_pools, merge, plain, read_model
from fleet.plan import host_plan
from fleet.topology import topology
from support.fleet_model import HOSTS, LOADED

DELETE = object()


def put(data, path, value):
    """Set (or delete) what stands at a dotted path."""
    *parents, last = path.split(".")
    for key in parents:
        data = data[int(key)] if isinstance(data, list) else data.setdefault(key, {})
    if value is DELETE:
        del data[last]
    else:
        data[int(last) if isinstance(data, list) else last] = value


# Finding, path in the model, what is put there, and the variable that is named if it is not that path.
IO = LOADED["pools"]["io"]
SCALED = {"enabled": True, "min": 1, "max": 2}
BROKEN = [
    ("model/unknown-key", "pools.cpu.time_limits", 3),
    ("model/unknown-key", "pool_defaults.exchange_typ", "topic"),
    ("model/unknown-key", "pools.cpu.queues.cpu_ml_training.max_len", 1),
    ("model/unknown-key", "app.names", "demo"),
    ("model/unknown-key", "app.source.url", "x"),
    ("model/unknown-key", "pool", {}, "fleet_model.pool"),
    ("model/missing-key", "pools.cpu.exchange", DELETE),
    ("model/missing-key", "reserve.cores", DELETE),
    ("model/missing-key", "routing", DELETE),
    ("model/bad-value", "pools.cpu.kind", "gpu"),
    ("model/bad-value", "pools.cpu.weight", 0),
    ("model/bad-value", "pools.cpu.weight", float("nan")),
    ("model/bad-value", "pools.cpu.time_limit", "3600"),
    ("model/bad-value", "pools.cpu.time_limit", True),
    ("model/bad-value", "pools.cpu.demand.cores", -1),
    ("model/bad-value", "pools.cpu.prefetch_multiplier", 0),
    ("model/bad-value", "pools.cpu.environment.A", "one\ntwo"),
    ("model/bad-value", "pools.cpu.environment.1A", "x"),
    ("model/bad-value", "pools.cpu", "everything"),
    ("model/bad-value", "pools", ["cpu"]),
    ("model/bad-value", "pool_defaults.execution", "solo"),
    ("model/bad-value", "reserve.memory", 1),
    ("model/bad-value", "broker.port", 70000),
    ("model/bad-value", "app.source.type", "svn"),
    ("model/bad-value", "app.celery_app", "demo app"),
    ("name/invalid", "app.name", "../etc"),
    ("name/invalid", "pools.cpu.exchange", "amq.topic"),
    ("name/invalid", "pools.cpu.queues.a b", {"routing_key": "a"}),
    ("name/reserved", "pools.cpu.queues.fleet_verify", {"routing_key": "a"}),
    ("name/reserved", "pools.cpu.exchange", "celery_delayed_3"),
    ("name/reserved", "pools.cpu.queues.cpu_tasks_dead", {"routing_key": "a"}),
    ("pool/bad-name", "pools.gpu-large", {}),
    ("pool/no-queues", "pools.cpu.queues", {}),
    ("pool/none", "pools", {}),
    ("profile/unknown-pool", "profiles.cpu_servers.pools.cpus", {}),
    ("environment/unknown-pool", "environment_pools.i0", {}),
    ("pool/unknown-call", "pools.io.calls", ["gpu"]),
    ("queue/two-owners", "pools.io.queues.cpu_ml_training", {"routing_key": "x.y"}),
    ("mistake/mixed-kinds", "pools.io.queues.cpu_ml_training", {"routing_key": "x.y"}),
    ("mistake/mixed-kinds", "routing.hints.cpu", "io_api_calls"),
    ("mistake/high-prefetch", "pools.cpu.prefetch_multiplier", 4),
    ("mistake/high-prefetch", "environment_pools.memory.prefetch_multiplier", 2),
    ("queue/no-routing-key", "pools.io.queues.io_api_calls.routing_key", DELETE),
    ("queue/no-routing-key", "pools.io.queues.io_api_calls", None),
    ("queue/bad-routing-key", "pools.io.queues.io_api_calls.routing_key", "io.#"),
    ("queue/bad-routing-key", "pools.io.queues.io_api_calls.routing_key", "x" * 220),
    ("exchange/binding-clash", "pools.io.queues.io_file_operations.routing_key", "io.api"),
    ("exchange/delay-clash", "pools.io.queues.io_file_operations.routing_key", "ml"),
    (
        "exchange/two-types",
        "pools.io",
        {**IO, "exchange": "cpu_tasks", "exchange_type": "direct"},
        "fleet_pools.io.exchange_type",
    ),
    ("limits/missing", "pools.io.time_limit", DELETE),
    ("limits/missing", "pools.io.soft_time_limit", None),
    ("limits/missing", "environment_pools.io.time_limit", None),
    ("limits/missing", "pools.io.max_tasks_per_child", DELETE),
    ("limits/soft-not-below-hard", "pools.io.soft_time_limit", 300),
    (
        "limits/soft-not-below-hard",
        "profiles.balanced_servers.pools.io",
        {"soft_time_limit": 301},
        "fleet_profiles.balanced_servers.pools.io.soft_time_limit",
    ),
    (
        "autoscale/not-prefork",
        "pools.io",
        {**IO, "execution": "threads", "autoscale": SCALED},
        "fleet_pools.io.autoscale.enabled",
    ),
    (
        "autoscale/no-range",
        "pools.general.autoscale",
        {"enabled": True},
        "fleet_pools.general.autoscale.enabled",
    ),
    ("autoscale/empty-range", "pools.io.autoscale.min", 101),
    (
        "autoscale/with-concurrency",
        "pools.io",
        {**IO, "concurrency": 4, "autoscale": SCALED},
        "fleet_pools.io.concurrency",
    ),
    (
        "sizing/empty-range",
        "pools.io",
        {**IO, "min_concurrency": 4, "max_concurrency": 2},
        "fleet_pools.io.min_concurrency",
    ),
    (
        "sizing/outside-range",
        "pools.io",
        {**IO, "concurrency": 4, "max_concurrency": 2},
        "fleet_pools.io.concurrency",
    ),
    ("sizing/unbounded", "pools.io.demand", {"cores": 0, "memory_mib": 0}),
    (
        "model/fleet-wide-field",
        "profiles.cpu_servers.pools.cpu",
        {"exchange": "other"},
        "fleet_profiles.cpu_servers.pools.cpu.exchange",
    ),
    ("routing/unknown-queue", "routing.default_queue", "celery"),
    ("routing/unknown-queue", "routing.hints.gpu", "gpu_training"),
    (
        "routing/unknown-queue",
        "routing.rules.1.branches.1.queue",
        "io_files",
        "fleet_routing.rules.io.branches.1.queue",
    ),
    ("routing/no-queue", "routing.rules.0.queue", DELETE),
    ("routing/no-condition", "routing.rules.0.words", DELETE, "fleet_routing.rules.cpu"),
    ("broker/no-address", "broker.nodes", [None], "fleet_broker.nodes.0"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken[0]}-{broken[1]}")
def test_a_broken_model_is_refused_by_name(model, broken):
    id, path, value, *other = broken
    variable = other[0] if other else f"fleet_{path}"
    put(model, path, value)
    findings = read_model(model)[1]
    found = {(finding.id, finding.variable) for finding in findings.errors}
    assert (id, variable) in found, report(findings)
    with pytest.raises(ModelError) as refusal:
        host_plan(model, "cpu1", HOSTS["cpu1"][0], {}, {"cores": 16, "memory_mib": 32102}, "cpu1")
    text = str(refusal.value)
    told = next(finding for finding in findings.errors if (finding.id, finding.variable) == (id, variable))
    for words in (f"[error] {id}: {CATALOGUE[id].title}", f"{variable} = {told.value}"):
        assert words in text
    if isinstance(value, int | float):
        assert told.value == show(value)
    for finding in refusal.value.findings:
        assert all([finding.reason, finding.remedy, finding.value, finding.where])


@pytest.mark.parametrize(
    ("id", "path", "value"),
    [
        ("limits/not-enforced", "pools.io.execution", "threads"),
        ("queue/drops-oldest", "pools.io.overflow", "drop-head"),
        ("queue/drops-oldest", "pools.io.queues.io_api_calls.overflow", "drop-head"),
    ],
)
def test_a_warning_does_not_refuse(model, id, path, value):
    put(model, path, value)
    findings = read_model(model)[1]
    assert [(finding.id, finding.severity) for finding in findings] == [(id, "warning")]
    findings.refuse()


def test_the_model_of_this_repository_has_no_finding(model):
    assert list(read_model(model)[1]) == []


def test_a_misspelt_key_gets_the_nearest_name(model):
    put(model, "pools.cpu.time_limits", 3600)
    put(model, "profiles.cpu_servers.pools.cpuu", {})
    text = report(read_model(model)[1])
    assert "did you mean 'time_limit'?" in text
    assert "did you mean 'cpu'?" in text


def test_all_faults_are_told_at_once(model):
    put(model, "pools.cpu.time_limit", None)
    put(model, "pools.io.prefetch_multiplier", "ten")
    put(model, "profiles.cpu_servers.pools.gpu", {})
    put(model, "routing.default_queue", "nowhere")
    ids = [finding.id for finding in read_model(model)[1]]
    assert sorted(ids) == [
        "limits/missing",
        "model/bad-value",
        "profile/unknown-pool",
        "routing/unknown-queue",
    ]


def test_a_fault_of_a_host_names_the_host(model):
    findings = read_model(model)[1]
    effective_pools(
        read_model(model)[0], "cpu1", ["cpu_servers"], {"cpu": {"time_limit": 1}, "gpu": {}}, findings
    )
    assert {(f.id, f.variable, f.where) for f in findings} == {
        ("limits/soft-not-below-hard", "fleet_host_pools.cpu.time_limit", "cpu1"),
        ("host/unknown-pool", "fleet_host_pools.gpu", "cpu1"),
    }


GPU = {
    "kind": "cpu",
    "exchange": "gpu_tasks",
    "queues": {"gpu_inference": {"routing_key": "gpu.inference"}},
    "demand": {"cores": 2, "memory_mib": 8192},
    "prefetch_multiplier": 1,
    "max_tasks_per_child": 50,
    "time_limit": 900,
    "soft_time_limit": 840,
}


def test_an_environment_adds_a_pool_by_giving_its_queues(model):
    put(model, "environment_pools.gpu", GPU)
    plan = host_plan(model, "g1", [], {"gpu": {"time_limit": 1000}}, {"cores": 8, "memory_mib": 64000}, "g1")
    assert plan["pools"]["gpu"]["concurrency"] == 3
    assert plan["pools"]["gpu"]["overrides"] == [
        {"field": "time_limit", "value": 1000, "replaced": 900, "by": "fleet_host_pools.gpu"}
    ]
    assert {"gpu_inference", "cpu_ml_training"} <= {q["name"] for q in topology(model, {})["queues"]}


def test_a_pool_that_an_environment_adds_must_be_whole(model):
    put(model, "environment_pools.gpu", {"queues": GPU["queues"], "time_limit": 60, "soft_time_limit": 90})
    found = {(f.id, f.variable) for f in read_model(model)[1]}
    assert ("limits/soft-not-below-hard", "fleet_environment_pools.gpu.soft_time_limit") in found
    assert ("model/missing-key", "fleet_environment_pools.gpu.exchange") in found
    put(model, "environment_pools.Gpu", GPU)
    assert ("pool/bad-name", "fleet_environment_pools.Gpu") in {
        (f.id, f.variable) for f in read_model(model)[1]
    }


def test_a_value_of_an_environment_is_never_shown(model):
    put(model, "app.environment.TOKEN", "very\nsecret")
    put(model, "pools.cpu.environment", "very secret")
    findings = read_model(model)[1]
    assert [f.variable for f in findings] == ["fleet_pools.cpu.environment", "fleet_app.environment.TOKEN"]
    assert "secret" not in report(findings)


def test_layers_merge_deeply_and_know_their_origin():
    merged, origins = merge(
        [("low", {"a": {"x": 1, "y": 2}, "b": [1]}), ("high", {"a": {"x": 3}, "b": [2], "c": None})]
    )
    assert merged == {"a": {"x": 3, "y": 2}, "b": [2], "c": None}
    assert origins == {("a",): "low", ("a", "x"): "high", ("b",): "high", ("c",): "high"}


def test_merging_leaves_the_layers_alone():
    low, high = {"a": {"x": 1}}, {"a": {"x": 2}}
    merge([("low", low), ("high", high)])
    assert (low, high) == ({"a": {"x": 1}}, {"a": {"x": 2}})


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "templated"


def test_foreign_types_become_plain_ones():
    foreign = collections.OrderedDict({Text("a"): (Text("x"), collections.UserDict({"b": Text("y")}))})
    found = plain(foreign)
    assert found == {"a": ["x", {"b": "y"}]}
    assert type(found) is dict
    assert type(found["a"][0]) is str
