"""What an editor is told of the model is what the kit's own check says, as far as JSON Schema can say it."""

import copy
import json

import jsonschema
import pytest
import schema
import yaml
from fleet.model import fields
from fleet.model.spec import Spec
from support.broken_models import BROKEN, put
from support.fleet_model import LOADED, ROOT

import docs

WRITTEN = json.loads((ROOT / "docs/reference/schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(WRITTEN)
FILES = [
    path
    for folder in ("group_vars/all", "inventories", "docs/examples", "molecule")
    for path in sorted((ROOT / folder).rglob("*.yml"))
    if "group_vars" in path.parts or "host_vars" in path.parts
]
# What a schema cannot say of one variable by itself, and why.
LEFT_TO_THE_KIT = {
    "relations between fields of a pool": (
        "limits/soft-not-below-hard", "autoscale/", "sizing/", "queue/priority-of-quorum",
    ),
    "relations between fields of the application": ("app/no-named-app", "app/duplicate-hook"),
    "what only a shell would understand": ("app/shell-command",),
    "relations between pools and variables": (
        "name/reserved", "profile/", "environment/", "tuned/", "pool/unknown-call", "queue/two-owners",
        "mistake/", "exchange/", "results/several-hosts", "routing/unknown-queue", "routing/alias-of-queue",
        "routing/no-condition", "monitoring/unknown-receiver",
    ),
    "relations between fields of the broker": (
        "broker/same-port", "broker/contradiction", "broker/no-login", "broker/no-authority",
    ),
    "an environment may add every pool": ("pool/none",),
    "what is in a text, and where a path leads": (
        "app/unfit-secret", "app/unknown-reader", "app/file-content", "app/bad-path",
        "app/bad-command", "app/shell-command", "app/duplicate-hook",
        "source/password-in-url",
    ),
}  # fmt: skip
# A field that a layer leaves out may come from another one.
FROM_ANOTHER_LAYER = ("exchange", "routing_key", "time_limit", "max_tasks_per_child")


def is_left_to_the_kit(id, path, value):
    if isinstance(value, float) and value != value:
        return True  # JSON has no such number.
    if path.split(".")[0] == "pool" or path == "routing":
        return True  # No variable of a site, or none at all.
    if '"' in str(value) and path.startswith("app.before_release"):
        return True  # A quote without its end.
    missing = not isinstance(value, str | dict | int | list) and value is not None
    if missing and path.split(".")[-1] in FROM_ANOTHER_LAYER:
        return True
    return any(id.startswith(known) for group in LEFT_TO_THE_KIT.values() for known in group)


def variables(model):
    return {f"fleet_{part}": value for part, value in model.items()}


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(WRITTEN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_variables_passes(path):
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def test_the_model_without_templates_passes():
    VALIDATOR.validate(variables(LOADED))
    VALIDATOR.validate({"fleet_accepted_findings": {"mistake/high-prefetch@io": "calls are short"}})


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken[0]}-{broken[1]}")
def test_what_the_kit_refuses_of_a_value_the_schema_refuses_too(broken):
    id, path, value, *_ = broken
    model = copy.deepcopy(LOADED)
    put(model, path, value)
    assert VALIDATOR.is_valid(variables(model)) == is_left_to_the_kit(id, path, value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("fleet_host_pools", {"cpu": {"exchange": "mine"}}),
        ("fleet_host_pools", {"cpu": {"time_limit": 0}}),
        ("fleet_profiles", {"cpu_servers": {"pool": {}}}),
        ("fleet_accepted_findings", {"pool/none": "a fault that cannot be accepted"}),
        ("fleet_accepted_findings", {"mistake/high-prefetch": " "}),
        ("fleet_app", {"source": {"type": "git", "path": "."}}),
        ("fleet_schedule", {"nightly": {"task": "a.b", "evry": 60}}),
        ("fleet_schedule", {"nightly": {"task": "a.b", "crontab": "* * * *"}}),
        ("fleet_reserve", {"cores": 1, "memory": 0}),
    ],
)
def test_other_layers_and_variables_are_checked_as_well(variable, value):
    assert not VALIDATOR.is_valid({variable: value})


@pytest.mark.parametrize("variable", WRITTEN["properties"])
def test_a_template_may_stand_for_any_value(variable):
    VALIDATOR.validate({variable: "{{ something_else }}"})


def test_a_template_may_stand_for_any_field():
    def everywhere(value):
        yield "{{ x }}"
        for key, item in value.items() if isinstance(value, dict) else ():
            for inner in everywhere(item):
                yield {**value, key: inner}

    for variable, value in variables(LOADED).items():
        for changed in everywhere(copy.deepcopy(value)):
            VALIDATOR.validate({variable: changed})


def leaves(spec, path):
    """Every spec of a plain value below one."""
    inner = {**(spec.fields or {}), **({"each": spec.each} if spec.each else {})}
    for name, more in inner.items():
        yield from leaves(more, f"{path}.{name}")
    if not inner and not spec.variants:
        yield pytest.param(spec, id=path)


ALL = Spec("", bool, {}, fields={**fields.SPECS["fleet_pools"], **fields.BROKER, **fields.ROUTING})
APPLICATION = Spec("", bool, {}, fields=fields.APP)
PROBES = (
    *(0, 1, -1, 0.06, 1.5, 10, 65535, 10**9, True, False, None, [], ["a"], {}, {"a": 1}),
    *("", " ", "a", "a b", "a.b", "a-b", "_", "1a", "é", "amq.x", "x" * 200, "cpu.ml", "10.0.0.1", "fe80::1"),
    *("prefork", "topic", "drop-head"),
)


@pytest.mark.parametrize(
    "spec",
    [*leaves(ALL, "model"), *leaves(fields.SCHEDULE, "schedule"), *leaves(APPLICATION, "app")],
)
def test_what_the_kit_takes_the_schema_takes(spec):
    validator = jsonschema.Draft7Validator({**schema.of(spec), "definitions": WRITTEN["definitions"]})
    taken = [value for value in PROBES if spec.test(value)]
    assert [value for value in taken if not validator.is_valid(value)] == []


def test_an_editor_finds_the_schema_from_every_shipped_file():
    shipped = [
        *(ROOT / "group_vars/all").glob("*.yml"),
        *(ROOT / "inventories/prod/group_vars").rglob("*.yml"),
        *(ROOT / "inventories/single/group_vars").rglob("*.yml"),
    ]
    for path in shipped:
        first = path.read_text().splitlines()[0]
        start = "# yaml-language-server: $schema="
        assert first.startswith(start), path
        assert (path.parent / first.removeprefix(start)).resolve() == ROOT / "docs/reference/schema.json"


def test_the_schema_is_the_one_that_the_fields_give():
    assert (ROOT / "docs/reference/schema.json").read_text() == schema.text(docs.model())
