"""What the app role's expressions give, evaluated as Ansible does, and what its modules read."""

from __future__ import annotations

import importlib
import json
import os
import pwd
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from fleet.host.names import installation
from fleet.lock.requirement import Requirement
from support.fleet_files import document

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "app"


def trusted(value: Any) -> Any:
    """Mark every string of a YAML document as one that may hold expressions."""
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def load(name: str) -> Any:
    return trusted(yaml.safe_load((ROLE / name).read_text()))


def evaluate(expression: Any, **variables: Any) -> Any:
    known = {
        **load("defaults/main.yml"),
        **load("vars/main.yml"),
        "app_installation": installation("demo"),
        "role_path": str(ROLE),
        **variables,
    }
    return Templar(loader=DataLoader(), variables=known).template(expression)


def arguments(tasks: str, name: str) -> dict[str, Any]:
    """Return the arguments of a task of the role."""
    (task,) = [task for task in load(f"tasks/{tasks}.yml") if task["name"].endswith(f"| {name}")]
    (module,) = [key for key in task if "." in key]
    found: dict[str, Any] = task[module]
    return found


def module(name: str) -> ModuleType:
    """Import one of the kit's modules."""
    return importlib.import_module(f"ansible_collections.celery_fleet.kit.plugins.modules.{name}")


def test_old_passwords_lie_beside_the_new_ones() -> None:
    found = evaluate(
        load("vars/main.yml")["__app_secrets"],
        app_passwords={"client": "new", "verify": "same"},
        app_previous_passwords={"client": "old"},
    )
    assert found == {"client": "new", "verify": "same", "client.previous": "old"}


def test_the_operator_s_passwords_are_for_the_operator_s_user_alone() -> None:
    users = ("client", "client.previous", "verify", "verify.previous", "verify2")
    items = evaluate(
        load("vars/main.yml")["__app_secret_files"], __app_secrets=dict.fromkeys(users, "secret")
    )
    assert items[0]["directory"] == "/etc/celery-fleet/secrets"
    assert items[0]["exact"]
    # Whoever publishes tasks comes through it to one file.
    assert (items[0]["group"], items[0]["mode"]) == ("celery-fleet", "0751")
    modes = {Path(item["file"]).name: (item["group"], item["mode"]) for item in items[1:]}
    assert {name for name, rights in modes.items() if rights == ("celery-fleet-operator", "0640")} == {
        "verify",
        "verify.previous",
    }
    assert modes["verify2"] == ("celery-fleet", "0640")
    assert modes["client"] == modes["client.previous"] == ("celery-fleet-client", "0640")


@pytest.mark.parametrize("operates", [False, True])
def test_the_operator_s_user_is_where_its_passwords_are(operates: bool) -> None:
    passwords = dict.fromkeys(["client", *(["verify", "dead_letters"] if operates else [])], "secret")
    items = evaluate(
        arguments("configure", "Install the user, directories, fleet file, authorities and passwords")[
            "items"
        ],
        app_passwords=passwords,
        app_previous_passwords={},
        app_vault_id="",
        app_fleet_file={},
        app_settings={},
    )
    clients = next(item for item in items if item.get("group") == "celery-fleet-client")
    users = [item["user"] for item in items if "user" in item]
    assert ("celery-fleet-operator" in users) == ("celery-fleet-operator" in clients["members"]) == operates
    if operates:
        home = next(item for item in items if item.get("directory") == "/var/lib/celery-fleet-operator")
        assert (home["owner"], home["mode"]) == ("celery-fleet-operator", "0700")


def test_a_release_that_was_built_before_is_asked_for_its_periodic_tasks_again() -> None:
    report = json.dumps(
        {"tasks": [], "periodic": {"entries": {"nightly": "a.b"}, "scheduler": "", "faults": []}}
    )
    path = "/opt/demo/releases/r1/.complete"
    expression = load("vars/main.yml")["__app_periodic"]
    known = {"app_release": "r1", "app_schedule": {}, "app_beat": "auto"}

    def faults(built: dict[str, Any], text: str) -> list[str]:
        found: dict[str, Any] = evaluate(
            expression, **known, __app_built=built, __app_host={"texts": {path: text}}
        )
        return list(found["faults"])

    assert len(faults({}, report)) == len(faults({"report": report}, "")) == 1
    assert faults({}, "") == [], "one of an earlier kit says nothing"


@pytest.mark.parametrize(
    ("beat", "schedule", "runs"),
    [
        ("auto", {}, False),
        ("auto", {"a": {}}, True),
        (True, {}, True),
        ("false", {"a": {}}, False),
        (False, {"a": {}}, False),
    ],
)
def test_a_scheduler_runs_where_a_site_says_so(beat: object, schedule: dict[str, Any], runs: bool) -> None:
    derived = trusted(yaml.safe_load((ROOT / "group_vars/all/derived.yml").read_text()))
    known = {"fleet_beat": beat, "fleet_schedule": schedule, "fleet_scheduler_hosts": ["h1"]}
    assert evaluate(derived["fleet_schedulers"], **known) == (["h1"] if runs else [])


def test_the_kit_is_found_beside_the_roles() -> None:
    defaults = load("defaults/main.yml")
    assert (Path(evaluate(defaults["app_kit_dir"])) / "__init__.py").is_file()


def test_the_cache_is_the_user_s_and_not_in_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    place = load("defaults/main.yml")["app_cache_dir"]
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/cache")
    assert evaluate(place) == "/srv/cache/celery-fleet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert evaluate(place) == "~/.cache/celery-fleet"


def test_the_fleet_file_is_json_in_a_stable_order() -> None:
    content = load("vars/main.yml")["__app_fleet_document"][0]["content"]
    one = evaluate(content, app_fleet_file={"b": [1, "ü"], "a": {"d": None, "c": True}})
    two = evaluate(content, app_fleet_file={"a": {"c": True, "d": None}, "b": [1, "ü"]})
    assert one == two
    assert one.endswith("}\n")
    assert json.loads(one) == {"a": {"c": True, "d": None}, "b": [1, "ü"]}


def test_wheels_are_asked_for_once_for_each_kind_of_host() -> None:
    known = {
        "ansible_play_batch": ["a", "b", "c", "d"],
        "hostvars": {
            "a": {"__app_python": {"target": "3.13 x86_64 2.41"}},
            "b": {"__app_python": {"target": "3.13 x86_64 2.41"}},
            "c": {"__app_python": {"target": "3.11 x86_64 2.36"}},
            "d": {},
        },
    }
    targets = load("vars/main.yml")["__app_targets"]
    assert evaluate(targets, **known) == ["3.13 x86_64 2.41", "3.11 x86_64 2.36"]


@pytest.mark.parametrize(
    ("python", "wanted", "text"),
    [
        ("python3", "python3", "python3"),
        ({"version": "3.12"}, "3.12", "3.12"),
        ({"version": "3.12", "archive": "/srv/p.tar", "sha256": "ab"}, "3.12", "3.12 ab"),
    ],
)
def test_a_python_is_a_name_or_what_the_controller_brings(python: object, wanted: str, text: str) -> None:
    known = {"app_settings": {"python": python}}
    variables = load("vars/main.yml")
    assert evaluate(variables["__app_wanted"], **known) == wanted
    assert evaluate(variables["__app_python_text"], **known) == text


def test_a_wheelhouse_holds_what_the_host_needs_and_not_what_the_controller_does() -> None:
    requirements = [
        Requirement("celery", "5.7.0", hashes=("sha256:aa", "sha256:bb")),
        Requirement("colorama", "0.4.6", "sys_platform == 'win32'", ("sha256:cc",)),
        Requirement("backport", "1.0", "python_full_version < '3.12'", ("sha256:dd",)),
    ]
    for_target = module("app_wheelhouse").for_target
    old = for_target(requirements, "3.11", "x86_64").splitlines()
    new = for_target(requirements, "3.13", "x86_64").splitlines()
    assert [line.split()[0] for line in old] == ["celery==5.7.0", "backport==1.0"]
    assert new == ["celery==5.7.0 --hash=sha256:aa --hash=sha256:bb"]


def test_the_application_is_imported_without_what_tasks_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, state = tmp_path / "release", tmp_path / "state"
    python = release / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (release / "shop.py").write_text(
        "import celery, celery_fleet\napp = celery.Celery('shop')\ncelery_fleet.configure(app)\n"
        "@app.task(name='shop.sell')\ndef sell(): pass\n"
    )
    (tmp_path / "client").write_text("password")
    (tmp_path / "fleet.json").write_text(json.dumps(document(secrets=str(tmp_path))))
    state.mkdir()
    for planted in ("celery", "celery_fleet", "shop", "kombu", "json"):
        (state / f"{planted}.py").write_text("raise SystemExit('planted')\n")
    monkeypatch.chdir(state)
    module = importlib.import_module("ansible_collections.celery_fleet.kit.plugins.modules.app_release")
    me = pwd.getpwuid(os.getuid())
    user = SimpleNamespace(pw_name=me.pw_name, pw_uid=me.pw_uid, pw_gid=me.pw_gid, pw_dir=str(state))
    monkeypatch.setattr(module.pwd, "getpwnam", lambda _: user)
    run = module.subprocess.run
    # Only root may choose a process's user.
    unprivileged = {"user": None, "group": None, "extra_groups": None}
    monkeypatch.setattr(
        module.subprocess, "run", lambda *args, **options: run(*args, **options | unprivileged)
    )
    params = {
        "user": "shop",
        "celery_app": "shop:app",
        "environment": {
            "PYTHONPATH": f"{release}:{ROOT}",
            "CELERY_FLEET_FILE": str(tmp_path / "fleet.json"),
        },
        "limits_above_pool": "refuse",
        "timeout": 60,
    }
    assert json.loads(module.import_app(release, params))["tasks"] == ["shop.sell"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"autoconfigure": False}, ""),
        ({"autoconfigure": True}, "shop.celery:app"),
        ({"autoconfigure": "shop.extensions:celery_app"}, "shop.extensions:celery_app"),
    ],
)
def test_the_app_that_a_release_configures(settings: dict[str, Any], expected: str) -> None:
    about = {"celery_app": "shop.celery:app", **settings}
    assert evaluate(load("vars/main.yml")["__app_autoconfigure"], app_settings=about) == expected


def test_only_its_own_user_and_the_application_s_read_a_pool_s_password() -> None:
    users = ("client", "worker_io", "worker_io.previous", "beat", "results_worker")
    known = {"app_passwords": dict.fromkeys(users, "x"), "__app_secrets": dict.fromkeys(users, "x")}
    _, *files = evaluate(load("vars/main.yml")["__app_secret_files"], **known)
    rights = {Path(item["file"]).name: (item["owner"], item["group"], item["mode"]) for item in files}
    assert rights["worker_io"] == rights["worker_io.previous"] == ("celery-fleet", "celery-fleet-io", "0440")
    assert rights["beat"] == ("celery-fleet", "celery-fleet-beat", "0440")
    assert rights["client"] == ("root", "celery-fleet-client", "0640")
    # The server of results has one user for all workers.
    assert rights["results_worker"] == ("root", "celery-fleet", "0640")


def test_a_pool_s_user_is_in_the_application_s_group_and_one_of_its_own() -> None:
    users = evaluate(
        load("vars/main.yml")["__app_own_accounts"], app_passwords={"worker_io": "x", "client": "x"}
    )
    assert users == [
        {"group": "celery-fleet"},
        {"user": "celery-fleet-io", "group": "celery-fleet", "home": "/var/lib/celery-fleet-io"},
        {"group": "celery-fleet-io", "members": ["celery-fleet-io"]},
    ]
    for tasks, name in (
        ("configure", "Install the user, directories, fleet file, authorities and passwords"),
        ("secrets", "Write the passwords, and remove those of other users"),
    ):
        assert "__app_own_accounts" in arguments(tasks, name)["items"]


def test_a_client_s_users_are_of_one_group_with_the_application_s_own() -> None:
    account = evaluate(load("vars/main.yml")["__app_account"], app_client_users=["www-data"])
    assert account[-1] == {"group": "celery-fleet-client", "members": ["celery-fleet", "www-data"]}


@pytest.mark.parametrize(("host", "users"), [("web1", ["www-data"]), ("cpu1", [])])
def test_only_clients_have_users_that_publish(host: str, users: list[str]) -> None:
    derived = trusted(yaml.safe_load((ROOT / "group_vars/all/derived.yml").read_text()))
    known = {"inventory_hostname": host, "groups": {"clients": ["web1"], "workers": ["cpu1"]}}
    assert evaluate(derived["app_client_users"], fleet_client_users=["www-data"], **known) == users
    assert evaluate(derived["app_client_users"], **known) == []


@pytest.mark.parametrize(
    ("changes", "linked", "missing", "runs"),
    [
        ({}, True, [], False),
        ({}, False, [], True),
        ({}, False, ["ca-certificates"], False),
        ({"/usr/local/share/ca-certificates/demo-old.crt": ["surplus"]}, True, [], True),
        ({"/etc/shop/shop.ini": ["content"]}, True, [], False),
    ],
)
def test_authorities_are_trusted_when_one_comes_or_goes_or_a_run_was_cut_short(
    changes: dict[str, Any], linked: bool, missing: list[str], runs: bool
) -> None:
    (task,) = [task for task in load("tasks/update.yml") if "Trust" in task["name"]]
    looked = {
        "changes": changes,
        "missing_packages": missing,
        "present": {"/etc/ssl/certs/demo-company.pem": linked},
    }
    items = [{"directory": "/srv/uploads"}, {"file": "/usr/local/share/ca-certificates/demo-company.crt"}]
    known = {"__app_host": looked, "app_extras": {"items": items, "secrets": {}}}
    held = [evaluate(trust_as_template(f"{{{{ {condition} }}}}"), **known) for condition in task["when"]]
    assert all(held) == runs
