"""The module that reads what a host runs."""

import json

import pytest
from fleet.host.records import Worker, keep


class LeftError(Exception):
    """What a module answers."""


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Run the module on the records of a directory."""
    from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
    from ansible_collections.celery_fleet.kit.plugins.modules import worker_state

    class Module:
        def __init__(self, argument_spec, supports_check_mode):
            assert supports_check_mode

        def exit_json(self, **found):
            raise LeftError(json.dumps(found))

    host = Machine(tmp_path, lambda *_: "")
    monkeypatch.setattr(worker_state, "AnsibleModule", Module)
    monkeypatch.setattr(worker_state, "Machine", lambda: host)

    def run():
        with pytest.raises(LeftError) as left:
            worker_state.main()
        return json.loads(str(left.value))

    return host, run


def test_the_records_are_read(answer):
    host, run = answer
    assert run() == {"changed": False, "pools": {}}
    keep(host, "cpu", Worker("shop-1", "01234567", "overlap", "TOKEN=hush", {"concurrency": 12}))
    host.serve({"cpu": {"release": "shop-1", "previous": ""}})
    assert run() == {"changed": False, "pools": {"cpu": {"figures": {"concurrency": 12}, "releases": []}}}
