"""A role's argument specs say what its defaults and its tasks say, down to the leaves."""

import re

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from fleet.broker.topology import topology
from fleet.files.beat_file import beat_file
from fleet.files.fleet_file import fleet_file
from support.fleet_model import LOADED, ROOT, host_plan

ROLES = sorted(path.parents[1].name for path in (ROOT / "roles").glob("*/tasks/main.yml"))

# Mappings whose keys are names that a site gives, or which something else checks, with better words.
OPEN = {
    "app_accepted": "reasons by the findings that the site accepts",
    "preflight_application": "what the module app_bundle tells",
    "operate_move.routes": "as `staging.routes` returns them",
    "operate_plans": "each is a worker_plan",
    "operate_topology": "the broker role checks it as broker_topology",
    "operate_letters_queues": "by queue",
    "operate_letters_selection": "by option",
    "preflight_model": "preflight itself finds every fault of it at once",
    "preflight_hosts": "by host",
    "broker_members": "by host",
    "preflight_groups": "by group",
    "preflight_variables": "by variable",
    "app_settings.environment": "by variable",
    "app_settings.files": "by path",
    "app_extras.items": "the module host_state checks them",
    "app_extras.secrets": "by name",
    "app_fleet_file.pools": "by pool",
    "app_fleet_file.routing": "preflight checks it as fleet_routing",
    "worker_app.environment": "by variable",
    "worker_app.secrets": "by variable",
    "worker_digests": "by pool",
    "worker_installation": "host/names.py has its fields",
    "app_installation": "host/names.py has its fields",
    "exporter_installation": "host/names.py has its fields",
    "beat_installation": "host/names.py has its fields",
    "results_installation": "host/names.py has its fields",
    "monitoring_installation": "host/names.py has its fields",
    "monitoring_prometheus_config": "promtool checks it",
    "monitoring_recording_rules": "promtool checks it",
    "monitoring_alert_rules": "promtool checks it",
    "monitoring_alertmanager_config": "amtool checks it",
    "monitoring_consoles": "by file",
    "flower_installation": "host/names.py has its fields",
    "gateway_installation": "host/names.py has its fields",
    "flower_fleet_file": "the package checks it as fleet.json",
    "gateway_logins": "by name",
    "results_passwords": "by user",
    "results_further_passwords": "by user",
    "worker_plan.pools": "by pool",
    "worker_scale": "by pool",
    "lab_tmpfs": "by path",
    "beat_app.environment": "by variable",
    "beat_app.secrets": "by variable",
    "app_schedule": "preflight checks it as fleet_schedule",
    "beat_file.schedule": "preflight checks it as fleet_schedule",
    "app_passwords": "by user",
    "app_previous_passwords": "by user",
    "app_fleet_file.dead_letters.queues": "by queue",
    "broker_passwords": "by user",
    "broker_topology.exchanges.arguments": "by argument",
    "broker_topology.queues.arguments": "by argument",
    "broker_topology.bindings.arguments": "by argument",
    "broker_topology.policies.definition": "by key",
}


def read(role, name):
    path = ROOT / "roles" / role / name
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


def specs(role):
    return read(role, "meta/argument_specs.yml")["argument_specs"]


def options(role):
    """The options of every entry point, which must not contradict each other."""
    found = {}
    for spec in specs(role).values():
        for name, option in spec["options"].items():
            assert found.setdefault(name, option) == option, name
    return found


def nested(found, root=""):
    """Every option with its path."""
    for name, option in found.items():
        yield f"{root}{name}", option
        yield from nested(option.get("options", {}), f"{root}{name}.")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_specs(role):
    declared = options(role)
    defaults = read(role, "defaults/main.yml")
    assert {name: option["default"] for name, option in declared.items() if "default" in option} == defaults
    required = {name for name, option in declared.items() if option.get("required")}
    assert declared.keys() - required == defaults.keys()


@pytest.mark.parametrize("role", ROLES)
def test_specs_go_down_to_the_leaves_and_explain_them(role):
    for path, option in nested(options(role)):
        assert option["description"], path
        mapping = "dict" in (option["type"], option.get("elements"))
        assert mapping == ("options" in option or path in OPEN), path
        assert ("elements" in option) == (option["type"] == "list"), path
        # Only a variable of the role itself has a default; Ansible fills in none.
        assert "." not in path or "default" not in option, path


def test_every_open_mapping_is_there():
    every = {path for role in ROLES for path, _ in nested(options(role))}
    assert OPEN.keys() <= every


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_legal(role):
    for name, option in options(role).items():
        default = option.get("default")
        # A mapping that is wired has no default that could work.
        if default is None or (isinstance(default, str) and "{{" in default) or default == {}:
            continue
        checked = ArgumentSpecValidator({name: option}).validate({name: default})
        assert checked.error_messages == [], name
        assert checked.validated_parameters[name] == default, name


def text(role):
    """Everything that a role evaluates, without names of modules, files, keys and comments."""
    found = []
    for part in ("tasks", "handlers", "templates", "vars"):
        for path in sorted((ROOT / "roles" / role / part).glob("*")):
            found.append(re.sub(r"(?ms)^\s*#[^\n]*$|\{#.*?#\}", "", path.read_text()))
    return "\n".join(found)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_that_a_role_uses_is_declared(role):
    used = set(re.findall(rf"(?<![\w./]){role}_\w+(?!\w*:)", text(role)))
    # Facts and variables that the role sets for itself, and what it calls by name.
    known = set(re.findall(rf"(?m)^\s*(?:- )?({role}_\w+):", text(role)))
    assert used - known <= options(role).keys()


@pytest.mark.parametrize("role", ROLES)
def test_every_declared_variable_is_used(role):
    words = set(re.findall(r"\w+", text(role) + str(read(role, "defaults/main.yml"))))
    assert options(role).keys() <= words


@pytest.mark.parametrize("role", ROLES)
def test_what_is_said_not_to_be_read_is_not(role):
    evaluated = text(role)
    unread = {path for path, option in nested(options(role)) if option["description"] == "Not read here."}
    assert {path for path in unread if path in evaluated} == set()


HOST = {"groups": ["balanced_servers"], "pools": {}}
DERIVED = {
    ("app", "app_fleet_file"): lambda: fleet_file(LOADED),
    ("app", "app_settings"): lambda: LOADED["app"],
    ("beat", "beat_file"): lambda: beat_file(LOADED),
    ("worker", "worker_plan"): lambda: host_plan(
        LOADED, "b1", ["balanced_servers"], {}, {"cores": 8, "memory_mib": 64300}, "b1"
    ),
    ("broker", "broker_topology"): lambda: topology(LOADED, {"b1": HOST}),
}


@pytest.mark.parametrize(("role", "variable"), DERIVED)
def test_what_the_model_derives_is_what_the_specs_say(role, variable):
    option = options(role)[variable]
    value = DERIVED[role, variable]()
    checked = ArgumentSpecValidator({variable: option}).validate({variable: value})
    assert checked.error_messages == []
    assert checked.unsupported_parameters == set()
    unknown = {path for path in paths(value, variable, option) if path is not None}
    assert unknown == set()


def paths(value, root, option):
    """What is in a value but not in its spec."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, root, option)
    elif isinstance(value, dict) and "options" in option:
        for key, item in value.items():
            if key in option["options"]:
                yield from paths(item, f"{root}.{key}", option["options"][key])
            else:
                yield f"{root}.{key}"
