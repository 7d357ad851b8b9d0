"""The module that reads what a host runs, on units as the role and lists as systemd write them."""

import json
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader
from support.units import pool, render

LISTED = """\
celery-fleet-cpu@shop-1_01234567_1.service loaded active   running Celery worker, release shop-1
celery-fleet-cpu@shop-0_89abcdef_1.service loaded inactive dead    Celery worker, release shop-0
"""


class LeftError(Exception):
    """What a module answers."""


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Run the module on the unit files of a directory."""
    init_plugin_loader([str(Path(__file__).parents[2] / "collections")])
    from ansible_collections.celery_fleet.kit.plugins.modules import worker_state

    asked = []

    class Module:
        def __init__(self, argument_spec, supports_check_mode):
            assert supports_check_mode

        def run_command(self, command, check_rc):
            assert check_rc
            asked.append(command)
            return 0, LISTED, ""

        def exit_json(self, **found):
            raise LeftError(json.dumps(found))

    monkeypatch.setattr(worker_state, "AnsibleModule", Module)
    monkeypatch.setattr(worker_state, "UNITS", tmp_path)

    def run():
        with pytest.raises(LeftError) as left:
            worker_state.main()
        return json.loads(str(left.value)), asked

    return run


def test_units_and_their_releases_are_read(tmp_path, answer):
    plan = pool(environment={"TOKEN": "hush"})
    (tmp_path / "celery-fleet-cpu@shop-1_01234567_1.service").write_text(render("worker.service.j2", plan))
    (tmp_path / plan["slice"]).write_text(render("worker.slice.j2", plan))
    (tmp_path / "celery-fleet-cpu@.service.d").mkdir()
    found, asked = answer()
    assert found["changed"] is False
    assert list(found["pools"]) == ["cpu"]
    assert found["pools"]["cpu"]["releases"] == ["shop-1"]
    assert found["pools"]["cpu"]["figures"]["concurrency"] == "12"
    assert found["pools"]["cpu"]["figures"]["tasks_max"] == "512"
    assert "hush" not in json.dumps(found)
    assert asked[0][:2] == ["systemctl", "list-units"]


def test_a_host_without_the_fleet_is_not_asked(answer):
    assert answer() == ({"changed": False, "pools": {}}, [])
