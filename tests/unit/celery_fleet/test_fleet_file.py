from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fleet_files import document

from celery_fleet import FleetFileError, files, fleet_file


def _set(contents: dict[str, Any], place: str, value: object) -> None:
    *parents, last = place.split("/")
    target: Any = contents
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    if value is None:
        del target[last]
    else:
        target[last] = value


def test_the_file_of_the_model_is_understood(fleet: fleet_file.Fleet, contents: dict[str, Any]) -> None:
    assert fleet.app_name == "demo"
    assert fleet.broker.nodes[1] == fleet_file.Node("10.0.0.2", 5673)
    assert set(fleet.pools) == set(contents["pools"])
    cpu = fleet.pools["cpu"]
    assert cpu.time_limit == contents["pools"]["cpu"]["time_limit"]
    assert {queue.name: queue.routing_key for queue in cpu.queues} == {
        name: queue["routing_key"] for name, queue in contents["pools"]["cpu"]["queues"].items()
    }
    assert len(fleet.addresses()) == 10


def test_the_default_path_is_named_when_the_file_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FleetFileError) as caught:
        fleet_file.load("/nowhere/fleet.json")
    assert caught.value.path == "/nowhere/fleet.json"
    assert "no such file" in str(caught.value)
    assert "deploy" in caught.value.remedy
    assert "CELERY_FLEET_FILE" in caught.value.remedy


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FleetFileError, match="cannot be read"):
        fleet_file.load(str(tmp_path))


def test_permission_denied_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", deny)
    with pytest.raises(FleetFileError, match="group celery-fleet-client"):
        fleet_file.load("/etc/celery-fleet/fleet.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_other_contents_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FleetFileError, match=str(path)):
        fleet_file.load(str(path))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("schema", 1, "schema 1, but this release understands schema 2"),
        ("schema", None, "`schema` is missing"),
        ("schema", True, "`schema` must be a whole number, not True"),
        ("app", None, "`app` is missing"),
        ("app/name", "", "`app.name` must be a string that is not empty"),
        ("broker/nodes", [], "`broker.nodes` must be a list of at least one node"),
        ("broker/nodes/0/port", "5672", r"`broker.nodes\[0\].port` must be a whole number, not '5672'"),
        ("broker/nodes/0/port", 0, r"`broker.nodes\[0\].port` must be 1 or more"),
        ("broker/nodes", [7], r"`broker.nodes\[0\]` must be an object"),
        ("broker/password_file", None, "`broker.password_file` is missing"),
        ("broker/tls", "yes", "`broker.tls` must be an object, not 'yes'"),
        ("broker/tls", {}, "`broker.tls.ca_file` is missing"),
        ("pools/io/user", None, "`pools.io.user` is missing"),
        ("pools/io/password_file", "", "`pools.io.password_file` must be a string that is not empty"),
        ("pools/io/exchange_type", "fanout", "`pools.io.exchange_type` must be one of topic, direct"),
        ("pools/io/queue_type", "stream", "`pools.io.queue_type` must be one of quorum, classic"),
        ("pools/io/execution", "solo", "`pools.io.execution` must be one of"),
        ("pools/io/acknowledgement", 1, "`pools.io.acknowledgement` must be a string"),
        ("pools/io/time_limit", 0, "`pools.io.time_limit` must be 1 or more"),
        ("pools/io/time_limit", True, "`pools.io.time_limit` must be a whole number"),
        ("pools/io/queues/io_api_calls", {}, "`pools.io.queues.io_api_calls.routing_key` is missing"),
        (
            "pools/io/queues/cpu_ml_training",
            {"routing_key": "x"},
            "queue `cpu_ml_training` belongs to pool `cpu` and to `io`",
        ),
        ("routing/default_queue", "gone", "routing.default_queue leads to `gone`, a queue of no pool"),
        ("routing/hints/io", "gone", "routing.hints.io leads to `gone`"),
        ("routing/rules/0/queue", "gone", "routing.rules `cpu` leads to `gone`"),
        ("routing/rules/0/branches/1/queue", "gone", "routing.rules `cpu` branch 1 leads to `gone`"),
        ("routing/rules/0/words", "train", r"`routing.rules\[0\].words` must be a list"),
        ("routing/rules/0/words", ["train", 3], r"`routing.rules\[0\].words` must be a list of words"),
        ("routing/rules/0/words", None, r"`routing.rules\[0\]` has neither `task` nor `words`"),
        ("routing/rules/0/match", "all", r"`routing.rules\[0\].match` must be one of name, path"),
        ("verify/exchange", None, "`verify.exchange` is missing"),
    ],
)
def test_a_wrong_field_is_named(
    write: Callable[[], fleet_file.Fleet], contents: dict[str, Any], place: str, value: object, message: str
) -> None:
    _set(contents, place, value)
    with pytest.raises(FleetFileError, match=message) as caught:
        write()
    assert caught.value.path.endswith("fleet.json")
    assert caught.value.remedy


def test_what_a_later_kit_adds_is_ignored(
    write: Callable[[], fleet_file.Fleet], contents: dict[str, Any]
) -> None:
    contents["sites"] = {"north": {}}
    contents["pools"]["cpu"]["colour"] = "red"
    assert write().pools["cpu"].name == "cpu"


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_password_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "password"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FleetFileError, match="must hold a password"):
        files.read_password(str(path))


def test_only_the_line_end_is_no_part_of_a_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(" a b \n", encoding="utf-8")
    assert files.read_password(str(path)) == " a b "


def test_environment_names_the_file(tmp_path: Path, contents: dict[str, Any], monkeypatch: Any) -> None:
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(contents), encoding="utf-8")
    monkeypatch.setenv("CELERY_FLEET_FILE", str(path))
    assert fleet_file.load().path == str(path)


@pytest.mark.parametrize("pools", [[], ["nobody"], [7], "cpu"])
def test_a_dead_letter_queue_belongs_to_pools(
    contents: dict[str, Any], write: Callable[[], fleet_file.Fleet], pools: object
) -> None:
    contents["dead_letters"]["queues"]["cpu_tasks_dead"] = pools
    with pytest.raises(
        FleetFileError, match=r"`dead_letters\.queues\.cpu_tasks_dead` must be a list of pools"
    ):
        write()


def test_a_copy_of_the_directory_serves_wherever_it_lies(tmp_path: Path) -> None:
    contents = document(secrets="/etc/celery-fleet/secrets", ca_file="/etc/celery-fleet/ca.pem")
    contents["verify"]["password_file"] = "/run/secrets/verify"
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(contents))
    read = fleet_file.load(str(path))
    assert read.broker.password_file == str(tmp_path / "secrets/client")
    assert read.pools["io"].password_file == str(tmp_path / "secrets/worker_io")
    assert read.broker.ca_file == str(tmp_path / "ca.pem")
    assert read.verify.password_file == "/run/secrets/verify"
