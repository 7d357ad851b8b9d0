"""A load on a scenario's hosts: publishers on the client's, workers on theirs, and the ledgers of both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.scenario import Scenario, until

from trials.ledger import Event, Run, lost, read

LEDGERS = "/var/lib/celery-fleet/load"

# Tasks a second by kind: what a machine of two cores has to spare while it also makes faults.
RATES = {"compute": 20, "fetch": 35, "aggregate": 20, "tidy": 35}

# Stands for a kind where units are named.
POISON = "poison"

Host = Callable[[str], Any]


class Load:
    """A running load.

    Args:
        scenario: The scenario's hosts.
        host: Returns the testinfra host of a name.
        application: Name of the application that has the load's tasks.
        kept: Directory for the ledgers; what an earlier run left there is removed.
        least: How many tasks are published before the load may end.
        rates: Tasks a second by kind.
        poison: Messages a second that no worker can run.
    """

    def __init__(
        self,
        scenario: Scenario,
        host: Host,
        *,
        application: str,
        kept: Path,
        least: int = 0,
        rates: Mapping[str, float] = RATES,
        poison: float = 0,
    ) -> None:
        self.scenario, self.host, self.kept, self.least, self.rates = scenario, host, kept, least, rates
        self.python = f"/opt/{application}/current/venv/bin/python"
        self.run = f"run-{int(time.time())}"
        self.client = scenario.groups["clients"][0]
        self.events: list[Event] = []
        self.poison = poison

    def start(self) -> None:
        """Start a publisher of each kind."""
        for kind, rate in self.rates.items():
            least = int(self.least * rate / sum(self.rates.values())) + 1
            self._publish(kind, f"load.publish {self.run} {kind} --rate {rate} --least {least}")
        if self.poison:
            self._publish(POISON, f"load.poison {self.run} --rate {self.poison:g}")

    def _publish(self, kind: str, command: str) -> None:
        self.host(self.client).check_output(
            f"systemd-run --quiet --collect --unit={self._unit(kind)} --uid=celery-fleet "
            f"--property=UMask=0007 --setenv=HOME=/tmp {self.python} -P -m {command}"
        )

    def note(
        self, name: str, fault: Callable[[], None], kind: str = "", hosts: tuple[str, ...] = ()
    ) -> Event:
        """Make a fault, which ends when the fleet is whole again, and record when it was."""
        begin = time.time()
        fault()
        event = Event(name, begin, time.time(), kind, hosts)
        self.events.append(event)
        print(f"{name}: {event.end - begin:.0f} s", flush=True)
        return event

    def confirmed(self) -> int:
        """Return how many tasks the broker has confirmed so far."""
        counted = self.host(self.client).check_output(
            f"find {LEDGERS}/{self.run} -name 'sent-*.jsonl' -exec cat {{}} + | wc -l"
        )
        return int(counted)

    def poisoned(self) -> int:
        """Return how many messages that no worker can run the broker has confirmed."""
        counted = self.host(self.client).check_output(f"cat {LEDGERS}/{self.run}/poison.jsonl | wc -l")
        return int(counted)

    def stop(self) -> None:
        """Stop the publishers as soon as they have published what they must."""
        self.host(self.client).check_output(f"systemctl kill --signal=TERM {self._units}")

    def abandon(self) -> None:
        """End the publishers at once, for a run that has failed."""
        self.host(self.client).run(f"systemctl stop {self._units}")

    def finish(self, timeout: float) -> Run:
        """Stop the publishers, wait until everything that they published has run, and read the ledgers."""
        self.stop()
        client = self.host(self.client)
        until(
            lambda: (
                client.run(f"systemctl is-active {self._units}").stdout.split()
                == ["inactive"] * len(self._units.split())
            ),
            "every publisher has ended",
            timeout,
        )
        deadline = time.monotonic() + timeout
        run = self.collect()
        while lost(run) and time.monotonic() < deadline:
            time.sleep(2)
            run = self.collect()
        return run

    def collect(self) -> Run:
        """Fetch the ledgers, and read them."""
        self.kept.mkdir(parents=True, exist_ok=True)
        for old in self.kept.glob("*.json*"):
            old.unlink()
        ledgers = {"sent": [self.client], "ran": self.scenario.groups["workers"]}
        for kind, hosts in ledgers.items():
            for name in hosts:
                lines = self.host(name).check_output(
                    f"find {LEDGERS}/{self.run} -name '{kind}-*.jsonl' -exec cat {{}} +"
                )
                (self.kept / f"{kind}-{name}.jsonl").write_text(f"{lines}\n" if lines else "")
        (self.kept / "events.json").write_text(json.dumps([asdict(event) for event in self.events]))
        return read(self.kept)

    @property
    def _units(self) -> str:
        kinds = (*self.rates, POISON) if self.poison else self.rates
        return " ".join(self._unit(kind) for kind in kinds)

    def _unit(self, kind: str) -> str:
        return f"{self.run}-{kind}.service"
