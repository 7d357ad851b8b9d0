"""Queues get members on every node in the virtual host that is meant, and in no other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.celery_fleet.kit.plugins.modules import rabbitmq_members

NODES = ["rabbit@a", "rabbit@b"]
NODE = {
    "node": NODES[0],
    "running": True,
    "known": NODES,
    "running_nodes": NODES,
    "counts": [1, 1, 1],
    "disabled_flags": None,
}
QUEUE = {"name": "io_q", "type": "quorum", "leader": NODES[0], "members": NODES[:1], "online": NODES[:1]}


class Module:
    """As much of a module as its work needs."""

    check_mode = False

    def __init__(self, vhost: str) -> None:
        self.params = {"vhost": vhost, "nodes": NODES, "timeout": 1}
        self.grown: list[list[str]] = []
        self.result: dict[str, Any] = {}

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        if "eval" in argv:
            return 0, json.dumps(NODE) + "\nok\n", ""
        if "list_queues" in argv:
            return 0, json.dumps([QUEUE]), ""
        self.grown.append(argv)
        return 0, "", ""

    def exit_json(self, **result: Any) -> None:
        self.result = result


@pytest.mark.parametrize("vhost", ["celery_fleet", "a+b", "a.b", "/", "a(b"])
def test_a_virtual_host_is_matched_as_a_text(vhost: str) -> None:
    module: Any = Module(vhost)
    rabbitmq_members.run(module)
    assert module.result["grown"] == {NODES[1]: ["io_q"]}
    (argv,) = module.grown
    pattern = argv[argv.index("--vhost-pattern") + 1]
    assert re.search(pattern, vhost)
    assert not re.search(pattern, "axb") and not re.search(pattern, f"{vhost}2")
