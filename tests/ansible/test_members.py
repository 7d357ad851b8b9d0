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


class Cluster(Module):
    """Nodes that obey as RabbitMQ does; who commands them is killed before one of the changes."""

    def __init__(self, at: int = -1) -> None:
        super().__init__("celery_fleet")
        self.at, self.count = at, 0
        names = [f"queue_{number}" for number in range(4)]
        self.members = dict.fromkeys(names, NODES[:1])
        self.leaders = dict.fromkeys(names, NODES[0])

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        if "list_queues" in argv:
            queues = [
                QUEUE | {"name": name, "members": members, "online": members, "leader": self.leaders[name]}
                for name, members in self.members.items()
            ]
            return 0, json.dumps(queues), ""
        if "eval" in argv:
            return super().run_command(argv)
        if "grow" in argv:
            for name in self.members:
                self.step()
                self.members[name] = NODES
        else:
            assert "rebalance" in argv
            assert set(map(tuple, self.members.values())) == {tuple(NODES)}
            self.step()
            self.leaders = {name: NODES[at % 2] for at, name in enumerate(self.members)}
        return 0, "", ""

    def step(self) -> None:
        if self.count == self.at:
            raise KeyboardInterrupt
        self.count += 1


def test_members_and_leaders_are_completed_by_the_run_after_one_that_was_killed() -> None:
    whole: Any = Cluster()
    rabbitmq_members.run(whole)
    assert whole.count == 5
    for at in range(whole.count):
        module: Any = Cluster(at)
        with pytest.raises(KeyboardInterrupt):
            rabbitmq_members.run(module)
        module.at = -1
        rabbitmq_members.run(module)
        assert (module.members, module.leaders) == (whole.members, whole.leaders)
        rabbitmq_members.run(module)
        assert module.result["changed"] is False
