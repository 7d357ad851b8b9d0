"""What the flower role writes, rendered as Ansible does and read as its readers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.filter.host_state import package_files
from fleet.broker.rights import permissions_of
from fleet.broker.topology import topology
from fleet.files.fleet_file import flower_file
from fleet.files.users import fleet_users, host_users
from fleet.host.names import installation
from fleet.model.types import Flower
from support.fleet_model import LOADED, ROOT
from support.units import parse, render

from celery_fleet import fleet_file

GIVEN: dict[str, Any] = {
    "role": "flower",
    "flower_installation": installation("shop"),
    "flower_lock": str(ROOT / "requirements/flower.txt"),
    "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"},
}


def config(**changes: Any) -> dict[str, Any]:
    """Return the options of Flower, which executes its file."""
    options: dict[str, Any] = {}
    exec(render("flowerconfig.py.j2", **GIVEN, **changes), options)
    return options


def service(**changes: Any) -> dict[str, list[str]]:
    return parse(render("flower.service.j2", **GIVEN, **changes))["Service"]


def test_it_commands_nobody_and_shows_no_argument_unless_the_site_says_so() -> None:
    assert (config()["read_only"], config()["enable_events"]) == (True, False)
    assert not {"args", "kwargs", "result"} & {*config()["tasks_columns"].split(",")}
    assert not [line for line in service()["Environment"] if "ARGUMENTS" in line or "API" in line]
    loud = {"flower_control": True, "flower_show_arguments": True}
    assert config(**loud)["read_only"] is False
    assert {"args", "kwargs", "result"} <= {*config(**loud)["tasks_columns"].split(",")}
    assert {"FLOWER_UNAUTHENTICATED_API=true", "CELERY_FLEET_FLOWER_ARGUMENTS=1"} <= {
        *service(**loud)["Environment"]
    }


def test_it_listens_on_a_socket_and_keeps_so_many_tasks() -> None:
    options = config(flower_max_tasks=500)
    assert (options["unix_socket"], options["max_tasks"]) == ("/run/celery-fleet-flower/http.sock", 500)
    unit = service(flower_memory_mib=256)
    assert (unit["RuntimeDirectory"], unit["RuntimeDirectoryMode"]) == (["celery-fleet-flower"], ["0750"])
    assert (unit["User"], unit["MemoryMax"]) == (["celery-fleet-flower"], ["256M"])
    assert (unit["CapabilityBoundingSet"], unit["NoNewPrivileges"]) == ([""], ["true"])


def test_another_release_of_the_distribution_has_another_environment() -> None:
    old = GIVEN | {"ansible_facts": {"distribution": "Debian", "distribution_major_version": "12"}}
    (new,), (other,) = (
        service()["ExecStart"],
        parse(render("flower.service.j2", **old))["Service"]["ExecStart"],
    )
    assert new.split()[0] != other.split()[0]
    assert new.split()[0].startswith("/opt/celery-fleet-flower/environments/")


def test_it_finds_the_broker_by_a_login_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    results = {"nodes": ["10.0.0.9"], "port": 6390, "tls": False, "memory": 0.1}
    path.write_text(json.dumps(flower_file({**LOADED, "flower": {"runs": True}, "results": results})))
    read = fleet_file.load(str(path))
    # It has no use for results, nor the library and the login for them.
    assert read.results is None
    broker = read.broker
    # Beside its fleet file, wherever that is.
    assert (broker.user, broker.password_file) == ("flower", str(tmp_path / "secrets" / "flower"))
    assert broker.client_control is False


def test_the_broker_has_its_user_only_where_it_runs() -> None:
    model = {**LOADED, "flower": {"runs": True}}
    assert "flower" not in fleet_users(LOADED)
    assert "flower" in fleet_users(model)
    assert "flower" not in host_users(model)
    assert {each["user"] for each in topology(model, {})["permissions"]} == {
        user["name"] for user in topology(model, {})["users"]
    }


def test_its_user_hears_events_and_nothing_else_unless_it_may_command() -> None:
    def rights(control: bool) -> str:
        (right,) = (
            each
            for each in permissions_of([], False, flower=Flower(runs=True, control=control))
            if each["user"] == "flower"
        )
        return " ".join(right[kind] for kind in ("configure", "write", "read"))

    assert "pidbox" not in rights(control=False)
    assert "celeryev" in rights(control=False)
    assert "pidbox" in rights(control=True)


def test_a_package_comes_with_all_that_is_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "kit" / "inner"
    inner.mkdir(parents=True)
    for path in (inner.parent / "__init__.py", inner / "__init__.py", tmp_path / "alone.py"):
        path.touch()
    items = package_files([str(inner.parent), str(tmp_path / "alone.py")], "/opt/x")
    assert {item["file"] for item in items if "file" in item} == {
        "/opt/x/kit/__init__.py",
        "/opt/x/kit/inner/__init__.py",
        "/opt/x/alone.py",
    }
    assert [item["directory"] for item in items if item.get("exact")] == [
        "/opt/x",
        "/opt/x/kit",
        "/opt/x/kit/inner",
    ]
