"""No task is lost, whatever happens to the brokers: every fault under one load of 20 000 tasks."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.scenario import ROOT, Scenario, until

from trials.ledger import UNEXPLAINED
from trials.load import Load
from trials.proof import Verdict, judge, picture, table

Host = Callable[[str], Any]

KEPT = ROOT / ".cache" / "proof"
LEAST = 20_000

# Seconds. A fault's end is waited for; only these say when it has not come.
WHOLE = 240
PAUSED = 180
PARTED = 60
DRAINED = 180
# Gives a broker's host a source of packages with a newer RabbitMQ: its own one under another version.
NEWER = r"""
set -e
mkdir /srv/newer && cd /srv/newer
apt-get -qq download rabbitmq-server
dpkg-deb --raw-extract rabbitmq-server_*.deb unpacked
sed --in-place 's/^Version: .*/&+newer/' unpacked/DEBIAN/control
dpkg-deb -Znone --build unpacked newer.deb
size=$(stat --format=%s newer.deb) sum=$(sha256sum newer.deb | cut --delimiter=' ' --fields=1)
dpkg-deb --field newer.deb >Packages
printf 'Filename: ./newer.deb\nSize: %s\nSHA256: %s\n' "$size" "$sum" >>Packages
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
"""
# Confirmed tasks until the first fault, and the longest time in which no task of any kind may run.
WARM = 500
LONGEST_GAP = 60


class Cluster:
    """The brokers, and what can happen to them."""

    def __init__(self, scenario: Scenario, host: Host) -> None:
        self.scenario, self.host = scenario, host
        self.names = scenario.groups["brokers"]
        self.nodes = {
            self.ctl(name, "eval 'io:format(\"~s~n\", [node()]).'").split()[0]: name for name in self.names
        }

    def ctl(self, name: str, command: str) -> str:
        return str(self.host(name).check_output(f"rabbitmqctl --quiet {command}"))

    def ansible(self, *command: str) -> str:
        run = subprocess.run(
            [*command, "--inventory", str(self.scenario.inventory)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def whole(self, seen_from: str) -> None:
        """Wait until all nodes run and all their queues are in sync."""
        arguments = f"expect=stoppable timeout={WHOLE}"
        self.ansible(
            "ansible", seen_from, "--module-name", "celery_fleet.kit.rabbitmq_health", "--args", arguments
        )

    def other(self, name: str) -> str:
        return next(each for each in self.names if each != name)

    def leader(self, pool: str) -> str:
        """The host with the leader of the first queue of a pool."""
        worker = self.scenario.groups["workers"][0]
        variables = self.scenario.variables("worker_plan", "fleet_broker")[worker]
        queue = next(iter(variables["worker_plan"]["pools"][pool]["queues"]))
        vhost = variables["fleet_broker"]["vhost"]
        listed = json.loads(
            self.ctl(self.names[0], f"--formatter json list_queues --vhost {vhost} name leader")
        )
        return self.nodes[next(entry["leader"] for entry in listed if entry["name"] == queue)]

    def busiest(self) -> str:
        """The host that most of the workers are connected to."""
        peers = Counter[str]()
        for worker in self.scenario.groups["workers"]:
            listed = self.host(worker).check_output(
                "ss --tcp --numeric --no-header state established '( dport = :5672 or dport = :5671 )'"
            )
            peers.update(
                line.split()[3].rpartition(":")[0].strip("[]").removeprefix("::ffff:")
                for line in listed.splitlines()
            )
        addresses = {self.scenario.address(name): name for name in self.names}
        return addresses[next(peer for peer, _ in peers.most_common() if peer in addresses)]

    def kill(self, name: str) -> None:
        self.host(name).check_output("pkill --signal KILL --exact beam.smp")
        self.whole(self.other(name))

    def run(self, verb: str, *options: str) -> None:
        """Run one of the operator's verbs."""
        self.ansible("ansible-playbook", f"playbooks/{verb}.yml", *options)

    def upgrade(self) -> None:
        """Upgrade RabbitMQ at every node to the version that was offered, one node after the other."""
        self.run("broker_upgrade")
        versions = {
            name: self.host(name).check_output("dpkg-query --show --showformat='${Version}' rabbitmq-server")
            for name in self.names
        }
        assert {name: version for name, version in versions.items() if not version.endswith("+newer")} == {}

    def pauses(self, name: str) -> bool:
        """Whether a node pauses by itself when it is cut off."""
        version = json.loads(self.ctl(name, "--formatter json status"))["rabbitmq_version"]
        return tuple(map(int, version.split(".")[:2])) < (4, 3)

    def cut(self, name: str) -> None:
        """Part a node from the others until it has paused, and then let it find back by itself.

        From RabbitMQ 4.3 on none pauses, so it is parted for longer than the others need to notice it.
        """
        host, peers = (
            self.host(name),
            ", ".join(self.scenario.address(each) for each in self.names if each != name),
        )
        node = next(node for node, each in self.nodes.items() if each == name)
        host.check_output(
            "nft 'table ip proof { "
            f"chain in {{ type filter hook input priority -200; ip saddr {{ {peers} }} drop; }}; "
            f"chain out {{ type filter hook output priority -200; ip daddr {{ {peers} }} drop; }}; }}'"
        )
        try:
            if self.pauses(name):
                until(
                    lambda: "false" in host.run("rabbitmqctl --quiet eval 'rabbit:is_running().'").stdout,
                    f"{node} has paused, being in the minority",
                    PAUSED,
                )
            else:
                time.sleep(PARTED)
        finally:
            host.check_output("nft delete table ip proof")
        self.whole(self.other(name))


@pytest.fixture(scope="module")
def verdict(scenario: Scenario, host: Host) -> Verdict:
    """The whole proof, once; the tests look at what came of it."""
    cluster, load = Cluster(scenario, host), Load(scenario, host, application="load", kept=KEPT, least=LEAST)
    with ThreadPoolExecutor() as executor:
        list(executor.map(lambda name: host(name).check_output(NEWER), cluster.names))
    cluster.whole(cluster.names[0])
    first = cluster.leader("general")
    try:
        load.start()
        until(lambda: load.confirmed() > WARM, f"{WARM} tasks are confirmed", PAUSED)
        load.note(f"kill of {first}, a leader", lambda: cluster.kill(first))
        for name in cluster.names:
            if name != first:
                load.note(f"kill of {name}", lambda name=name: cluster.kill(name))
        load.note(f"restart of {first}", lambda: cluster.run("broker_restart", "--limit", first))
        load.note("upgrade", cluster.upgrade)
        load.note("other passwords", lambda: cluster.run("rotate_passwords"))
        load.note("other certificates", lambda: cluster.run("rotate_certificates"))
        cut = cluster.busiest()
        load.note(f"partition of {cut}", lambda: cluster.cut(cut))
        run = load.finish(DRAINED)
    except BaseException:
        load.abandon()
        raise
    result = judge(run)
    report = table(result)
    print(report)
    (KEPT / "report.txt").write_text(f"{report}\n")
    (KEPT / "proof.svg").write_text(picture(run, result))
    return result


def test_no_confirmed_task_is_lost(verdict: Verdict) -> None:
    assert verdict.sent >= LEAST
    assert verdict.lost == []
    assert verdict.unknown == []


def test_every_second_execution_has_a_cause(verdict: Verdict) -> None:
    assert verdict.duplicates.get(UNEXPLAINED, 0) == 0, verdict.duplicates


def test_fleet_works_on_during_every_fault(verdict: Verdict) -> None:
    assert {row.name: row.gap for row in verdict.rows if row.gap > LONGEST_GAP} == {}
