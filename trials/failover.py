"""How long workers and publishers stand still when a broker node goes away.

It makes a virtual host with the model's topology at a cluster, starts workers and publishers of its own on
this machine, does something to the node that one of them is connected to, and reads from the ledger of the
tasks and from the publisher's log how long nothing happened.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.vhost import VARIABLE, Vhost, temporary_vhost, wait_for

POOL, QUEUE = "general", "general_background"

# What is done to a node, how it is undone, and the seconds to watch. The first two run on the node's host.
EVENTS = {
    "kill": ("pkill -KILL beam.smp", "systemctl start rabbitmq-server", 25),
    "stop": ("systemctl stop rabbitmq-server", "systemctl start rabbitmq-server", 25),
    "drain": ("rabbitmq-upgrade --quiet drain", "rabbitmq-upgrade --quiet revive", 15),
    "freeze": ("pkill -STOP beam.smp", "pkill -CONT beam.smp", 100),
    # On the machine that holds the hosts' network namespaces.
    "cut": (
        "nft add table inet cut; for hook in input output; do "
        'nft add chain inet cut $hook "{ type filter hook $hook priority 0; policy drop; }"; done',
        "nft delete table inet cut",
        100,
    ),
}

PUBLISHER = """
import sys, time
from application import work
queue, number, log = sys.argv[1], 0, open(sys.argv[2], "a", buffering=1)
while True:
    begun = time.time()
    try:
        work.apply_async((f"n{number}",), queue=queue, ignore_result=True)
        log.write(f"{time.time()} {number}\\n")
        number += 1
    except Exception as error:
        print(time.time(), number, type(error).__name__, error, flush=True)
    time.sleep(max(0, 0.02 - (time.time() - begun)))
"""


@dataclass
class Cluster:
    """The broker's nodes, and how to run something at their hosts."""

    addresses: dict[str, str]
    shell: str
    network: str

    def run(self, host: str, event: str, command: str) -> None:
        """Run what makes or undoes an event."""
        prefix = (self.network if event == "cut" else self.shell).format(host=host)
        line = f"{prefix} bash -c {shlex.quote(command)}"
        subprocess.run(line, shell=True, check=False, capture_output=True)  # noqa: S602 - the caller's own

    def wait(self, vhost: Vhost) -> None:
        """Wait until all nodes run and all queues have all members."""

        def whole() -> bool:
            try:
                nodes = vhost.management.call("GET", "nodes")
                queues = vhost.management.call("GET", "queues", vhost.name)
            except OSError:
                return False
            return len([node for node in nodes if node["running"]]) == len(self.addresses) and all(
                len(queue.get("online", self.addresses)) == len(self.addresses)
                for queue in queues
                if queue.get("type") == "quorum"
            )

        wait_for(whole, 180, "a whole cluster")
        time.sleep(5)  # for consumers and leaders to settle


def node_of(vhost: Vhost, user: str) -> str:
    """Return the host of the node that a user's connections are at."""
    nodes = {c["node"].split("@")[1] for c in vhost.connections(user)}
    return nodes.pop() if len(nodes) == 1 else ""


@contextmanager
def publisher(vhost: Vhost, fleet_file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Publish numbered tasks, and log when each was confirmed."""
    environment = {**vhost.environment(fleet_file), "TEST_RESULTS": vhost.results, "CELERY_FLEET_POOL": ""}
    with (vhost.directory / "publisher.err").open("ab") as errors:
        command = [sys.executable, "-c", PUBLISHER, QUEUE, str(log)]
        process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors)  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def longest_gap(times: list[float], since: float) -> float:
    """Return the longest pause that ends after an event."""
    return max((b - a for a, b in itertools.pairwise(sorted(times)) if b > since), default=float("inf"))


def measure(cluster: Cluster, event: str, execution: str, hit: str, concurrency: int) -> dict[str, object]:
    """Run one event, and return what came of it."""
    with (
        tempfile.TemporaryDirectory(prefix="failover") as directory,
        temporary_vhost(Path(directory)) as vhost,
    ):
        cluster.wait(vhost)
        fleet_file = vhost.fleet_file(*((address, 5672) for address in cluster.addresses.values()))
        worker = vhost.worker(
            POOL, "--pool", execution, "--concurrency", str(concurrency), fleet_file=fleet_file
        ).ready()
        worker_node = wait_for(lambda: node_of(vhost, f"worker_{POOL}"), 20, "the worker's connection")
        log = vhost.directory / "published"
        # Each process begins at a node of its own: try until worker and publisher are at different ones.
        while True:
            log.unlink(missing_ok=True)
            with publisher(vhost, fleet_file, log):
                publisher_node = wait_for(lambda: node_of(vhost, "client"), 20, "the publisher's connection")
                if publisher_node == worker_node:
                    continue
                victim = worker_node if hit == "worker" else publisher_node
                do, undo, seconds = EVENTS[event]
                time.sleep(3)
                at = time.time()
                cluster.run(victim, event, do)
                time.sleep(seconds)
                cluster.run(victim, event, undo)
                cluster.wait(vhost)
            break
        published = [line.split() for line in log.read_text().splitlines()]
        wait_for(lambda: vhost.ready_messages(QUEUE) == 0, 60, "the rest of the tasks")
        time.sleep(2)
        starts = [mark for mark in vhost.marks() if mark["event"] == "start"]
        counts = Counter(mark["label"] for mark in starts)
        if keep := os.environ.get("KEEP_LOGS"):
            (Path(keep) / f"{event}-{execution}-{hit}.log").write_text(
                f"event at {time.strftime('%T', time.gmtime(at))}\n"
                + worker.log.read_text()
                + (vhost.directory / "publisher.err").read_text()
            )
        return {
            "event": event,
            "workers": execution,
            "hit": hit,
            "worker_gap": round(longest_gap([mark["at"] for mark in starts], at), 2),
            "publisher_gap": round(longest_gap([float(when) for when, _ in published], at), 2),
            "published": len(published),
            "lost": sum(f"n{number}" not in counts for _, number in published),
            "duplicates": sum(counts.values()) - len(counts),
            "raised": sum(
                line[:1].isdigit() for line in (vhost.directory / "publisher.err").read_text().splitlines()
            ),
        }


def main() -> int:
    """Measure all combinations and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="+", metavar="HOST=ADDRESS", help="the broker's nodes")
    parser.add_argument(
        "--shell", default="ssh {host} sudo", help="runs a command on a host (default: %(default)s)"
    )
    parser.add_argument("--network", default="", help="the same in a host's network namespace, for `cut`")
    parser.add_argument("--events", default="kill", help=f"some of {','.join(EVENTS)} (default: %(default)s)")
    parser.add_argument("--workers", default="prefork,threads")
    parser.add_argument("--hit", default="worker,publisher", help="whose node the event happens to")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    if VARIABLE not in os.environ:
        parser.error(f"{VARIABLE} must hold the management URL of a node")
    cluster = Cluster(dict(node.split("=") for node in options.nodes), options.shell, options.network)
    for event, workers, hit in itertools.product(
        options.events.split(","), options.workers.split(","), options.hit.split(",")
    ):
        for _ in range(options.repetitions):
            print(json.dumps(measure(cluster, event, workers, hit, options.concurrency)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
