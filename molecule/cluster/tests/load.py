"""The load of the proof: publishers on the client's host, workers on theirs, and the ledgers of both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support import MOLECULE, Site

from scripts.proof import Event, Run, judge, read

KEPT = MOLECULE.parent / ".cache" / "proof"
LEDGERS = "/var/lib/celery-fleet/load"
CURRENT = "/opt/load/current/venv/bin/python"

# Tasks a second by kind, and how many all of them are at least.
RATES = {"compute": 20, "fetch": 35, "aggregate": 20, "tidy": 35}
LEAST = 20_000

Host = Callable[[str], Any]


def until(holds: Callable[[], object], what: str, timeout: float) -> None:
    """Wait until something holds; ``what`` says what did not."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s still not: {what}")
        time.sleep(0.5)


class Load:
    """A running load.

    Parameters
    ----------
    site
        The scenario's hosts.
    host
        Gives the testinfra host of a name.
    """

    def __init__(self, site: Site, host: Host) -> None:
        self.site, self.host = site, host
        self.run = f"run-{int(time.time())}"
        self.client = site.groups["clients"][0]
        self.events: list[Event] = []

    def start(self) -> None:
        """Start a publisher of each kind."""
        for kind, rate in RATES.items():
            least = LEAST * rate // sum(RATES.values()) + 1
            self.host(self.client).check_output(
                f"systemd-run --quiet --collect --unit={self._unit(kind)} --uid=celery-fleet "
                "--setenv=HOME=/tmp --working-directory=/var/lib/celery-fleet "
                f"{CURRENT} -m load.publish {self.run} {kind} --rate {rate} --least {least}"
            )

    def note(self, name: str, fault: Callable[[], None]) -> None:
        """Make a fault, which ends when the cluster is whole again, and remember when it was."""
        begin = time.time()
        fault()
        self.events.append(Event(name, begin, time.time()))
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)

    def finish(self, timeout: float) -> Run:
        """Let the publishers end, wait until everything that they published has run, and read the ledgers."""
        client = self.host(self.client)
        units = " ".join(self._unit(kind) for kind in RATES)
        client.check_output(f"systemctl kill --signal=TERM {units}")
        until(
            lambda: client.run(f"systemctl is-active {units}").stdout.split() == ["inactive"] * len(RATES),
            "every publisher has ended",
            timeout,
        )
        deadline = time.monotonic() + timeout
        run = self._collect()
        while judge(run).lost and time.monotonic() < deadline:
            time.sleep(2)
            run = self._collect()
        return run

    def _collect(self) -> Run:
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob("*.json*"):
            old.unlink()
        kept = {"sent": [self.client], "ran": self.site.groups["workers"]}
        for kind, hosts in kept.items():
            for name in hosts:
                lines = self.host(name).check_output(
                    f"find {LEDGERS}/{self.run} -name '{kind}-*.jsonl' -exec cat {{}} +"
                )
                (KEPT / f"{kind}-{name}.jsonl").write_text(f"{lines}\n")
        (KEPT / "events.json").write_text(json.dumps([asdict(event) for event in self.events]))
        return read(Path(KEPT))

    def _unit(self, kind: str) -> str:
        return f"{self.run}-{kind}.service"
