"""Every fault of a model is found, by its stable name, at its variable; and nothing ever crashes."""

import collections

import pytest
from fleet.broker.topology import topology
from fleet.catalogue import CATALOGUE
from fleet.findings import ModelError, report, show
from fleet.model.host import Host
from fleet.model.layers import merge
from fleet.model.plain import plain
from fleet.model.pools import effective_pools
from fleet.model.read import read_model
from support.broken_models import BROKEN, put
from support.fleet_model import HOSTS, host_plan


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


def test_a_broker_in_the_environment_of_the_application_is_named_without_its_value(model):
    put(model, "app.environment.CELERY_BROKER_URL", "amqp://guest:hunter2@elsewhere//")
    put(model, "pools.io.environment.BROKER_URL", "mqtt://sensors")
    text = report(read_model(model)[1])
    assert "fleet_app.environment.CELERY_BROKER_URL = (not shown)" in text
    assert "where:  fleet_app_environment in the environment's group_vars" in text
    assert "os.environ.get('CELERY_BROKER_URL')" in text
    assert "hunter2" not in text
    assert "elsewhere" not in text
    assert "1 error: refused." in text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("app.secret", {"DATABASE_URL": "hunter2"}),
        ("app.token", "hunter2"),
        ("app.enviroment", {"PASSWORD": "hunter2"}),
        ("app.environment", ["PASSWORD=hunter2"]),
        ("app.environment", "PASSWORD=hunter2"),
        ("app.environment", {"PASSWORD=hunter2": ""}),
        ("app.environment", {"PASSWORD hunter2": None}),
        ("app.secrets", "PASSWORD=hunter2"),
        ("app.secrets", ["hunter2"]),
        ("app.secrets", {"PASSWORD=hunter2": None}),
        ("app.secrets.PASSWORD", ["hunter2"]),
        ("app.secrets.PASSWORD", {"vale": "hunter2"}),
        ("app.secrets.PASSWORD", {"value": ["hunter2"]}),
        ("app.secrets.PASSWORD", {"value": "hunter2\0"}),
        ("app.secrets.PASSWORD", {"value": "hunter2", "as": {"file": "hunter2"}}),
        ("app.secrets.CELERY_BROKER_URL", "amqp://shop:hunter2@elsewhere"),
        ("app.files./etc/shop/ini", "hunter2"),
        ("app.files./etc/shop/ini", {"contents": "hunter2"}),
        ("app.files./etc/shop/ini", {"content": {"password": "hunter2"}}),
        ("app.files.local", {"content": "hunter2", "secret": True}),
        ("app.ca_certificates.own", "hunter2"),
        ("app.source.token", "hunter2"),
        ("app.source", "https://shop:hunter2@git.example"),
        ("app.source.type", {"token": "hunter2"}),
        ("app.python", {"token": "hunter2"}),
        ("pools.io.enviroment", {"PASSWORD": "hunter2"}),
        ("pools.io.env", "hunter2"),
        ("pools.io.environment", {"PASSWORD": ["hunter2"]}),
        ("pools.io", [{"environment": {"PASSWORD": "hunter2"}}]),
        ("pools", [{"environment": {"PASSWORD": "hunter2"}}]),
        ("profiles.cpu_servers.pools.cpu", [{"environment": {"PASSWORD": "hunter2"}}]),
        ("schedule", {"nightly": {"task": "a", "every": 1, "kwarg": {"token": "hunter2"}}}),
        ("schedule", {"nightly": ["hunter2"]}),
        ("secrets", {"PASSWORD": "hunter2"}),
    ],
)
def test_no_finding_shows_what_may_be_a_secret(model, path, value):
    put(model, path, value)
    findings = read_model(model)[1]
    assert findings.errors
    assert "hunter2" not in report(findings)


def test_no_finding_of_a_host_shows_what_may_be_a_secret(model):
    for own in ([{"environment": "hunter2"}], {"io": [{"A": "hunter2"}]}, {"io": {"env": {"A": "hunter2"}}}):
        findings = read_model(model)[1]
        effective_pools(read_model(model)[0], Host("balanced1", ["balanced_servers"], own), findings)
        assert findings.errors
        assert "hunter2" not in report(findings)


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
    host = Host("cpu1", ["cpu_servers"], {"cpu": {"time_limit": 1}, "gpu": {}})
    effective_pools(read_model(model)[0], host, findings)
    assert {(f.id, f.variable, f.where) for f in findings} == {
        ("limits/soft-not-below-hard", "fleet_host_pools.cpu.time_limit", "cpu1"),
        ("host/unknown-pool", "fleet_host_pools.gpu", "cpu1"),
    }


def test_an_environment_changes_single_fields_of_the_routing(model):
    environment = {"default_queue": "io_api_calls", "hints": {"gpu": "cpu_ml_training"}}
    put(model, "environment_routing", environment | {"aliases": {"celery": "general_background"}})
    routing, findings = read_model(model)[0].routing, read_model(model)[1]
    assert list(findings) == []
    assert routing["default_queue"] == "io_api_calls"
    assert routing["hints"] == model["routing"]["hints"] | {"gpu": "cpu_ml_training"}
    assert routing["aliases"] == {"celery": "general_background"}
    assert routing["rules"] == model["routing"]["rules"]


def test_a_fault_of_the_routing_names_the_layer_that_has_it(model):
    put(model, "environment_routing", {"aliases": {"default": "gone"}, "hint": {}})
    put(model, "routing.rules.0.queue", "gone")
    assert {(f.id, f.variable) for f in read_model(model)[1]} == {
        ("routing/unknown-queue", "fleet_environment_routing.aliases.default"),
        ("model/unknown-key", "fleet_environment_routing.hint"),
        ("routing/unknown-queue", "fleet_routing.rules.cpu.queue"),
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


@pytest.mark.parametrize(("name", "words"), [(1, "1"), (True, "True"), (None, "None"), (1.5, "1.5")])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pools.cpu.queues", {"routing_key": "a"}),
        ("environment_pools.cpu.queues", {"routing_key": "a"}),
        ("app.environment", "x"),
        ("schedule.tidy.kwargs", "x"),
    ],
)
def test_a_name_that_is_no_text_is_refused_as_such(model, path, value, name, words):
    """Also beside the text that it would have become."""
    model["schedule"] = {"tidy": {"task": "a.b", "every": 5}}
    for names in ([name], [name, words], [words, name]):
        put(model, path, dict.fromkeys(names, value))
        # Some borders are crossed twice.
        for raw in (model, plain(model)):
            found = {(finding.id, finding.variable) for finding in read_model(raw)[1].errors}
            assert ("model/name-not-text", f"fleet_{path}.{words}") in found
