"""How long a deploy takes with a long task in every slot, against one of an idle fleet."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from functools import cache
from typing import Final

from fleet.text import columns
from support.scenario import Scenario, until

from trials.chaos import RESULTS, ChaosFleet
from trials.load import LEDGERS, Load

# Seconds of a task; one of a pool that allows less lasts a little less than that.
LONG: Final = 600
MARGIN: Final = 15

PUBLISH: Final = """
import json, sys
import load.tasks
from load.app import app
run, pools = json.loads(sys.argv[1])
for name, (queue, count, seconds) in pools.items():
    for number in range(count):
        app.tasks["load.hold"].apply_async((run, f"{name}-{number}", seconds), queue=queue)
"""


class Long:
    """Long tasks, one in every slot of the fleet.

    Args:
        fleet: The fleet, which must be idle.
    """

    def __init__(self, fleet: ChaosFleet) -> None:
        self.fleet = fleet
        self.pools: dict[str, tuple[str, int, int]] = {}
        for plan in fleet.plans.values():
            for name, pool in plan["pools"].items():
                queue, count, _ = self.pools.get(name, (min(pool["queues"]), 0, 0))
                seconds = min(LONG, int(pool["soft_time_limit"]) - MARGIN)
                self.pools[name] = (queue, count + int(pool["concurrency"]), seconds)
        self.slots = sum(count for _, count, _ in self.pools.values())

    def start(self) -> None:
        """Publish them, and wait until each runs."""
        load = self.fleet.load
        arguments = shlex.quote(json.dumps([load.run, self.pools]))
        load.host(load.client).check_output(
            f"runuser -u celery-fleet -- env HOME=/tmp {load.python} -c {shlex.quote(PUBLISH)} {arguments}"
        )
        until(lambda: self.count("began") == self.slots, "a long task in every slot", 120)

    def count(self, ledger: str) -> int:
        """Count how often one began, or how many have run."""
        return sum(
            int(
                self.fleet.host(name).check_output(
                    f"find {LEDGERS} -path '*/{self.fleet.load.run}/{ledger}-*' -exec cat {{}} + | wc -l"
                )
            )
            for name in self.fleet.workers
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="scripts/run bench.deploy", description=__doc__)
    parser.add_argument("--to-the-end", action="store_true", help="wait until the long tasks have ended")
    options = parser.parse_args(arguments)

    scenario = Scenario("fleet")
    host = cache(scenario.connect)
    fleet = ChaosFleet(scenario, Load(scenario, host, application="demo", kept=RESULTS), host)
    long = Long(fleet)

    def deploy(release: str) -> float:
        begin = time.monotonic()
        fleet.playbook("deploy", "--extra-vars", fleet.source(release))
        return time.monotonic() - begin

    # Both are built first, so that only the change of workers is measured.
    for release in ("bench-0", "bench-1"):
        deploy(release)
    idle = deploy("bench-0")
    long.start()
    busy = deploy("bench-1")

    ended, began = long.count("ran"), long.count("began")
    rows = [("deploy", "seconds", "ratio"), ("idle", f"{idle:.1f}", "1.00")]
    rows.append(("a long task in every slot", f"{busy:.1f}", f"{busy / idle:.2f}"))
    print("\n".join(columns(rows)))
    still, again = long.slots - ended, began - long.slots
    print(f"{long.slots} tasks ran when it began, {still} when it ended, {again} began again")
    for name, (queue, count, seconds) in sorted(long.pools.items()):
        print(f"  {name}: {count} tasks of {seconds} s in {queue}")
    if options.to_the_end:
        until(lambda: long.count("ran") >= long.slots, "every long task has ended", LONG + 120)
        began = long.count("began")
        print(f"to the end: {long.count('ran')} of {long.slots} ended, {began - long.slots} began again")
    return 1 if began != long.slots else 0


if __name__ == "__main__":
    sys.exit(main())
