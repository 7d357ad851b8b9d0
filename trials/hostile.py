"""Faults of people, clocks and hosts: a forged report, a lost vault, a clock that jumps, a new broker."""

from __future__ import annotations

import itertools
import json
import shlex
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from fleet.host.names import BEAT
from support.scenario import until

from trials.load import LEDGERS

if TYPE_CHECKING:
    from trials.chaos import ChaosFleet
    from trials.chaos_report import Step

# Puts everything but a report in the place of one, as fast as a verb may read it.
LIES: Final = r"""
cd {place} || exit
while sleep 0.1; do
  rm -rf state.json; ln -s /etc/shadow state.json; sleep 0.1
  rm -rf state.json; mkfifo state.json; sleep 0.1
  rm -rf state.json; mkdir state.json; sleep 0.1
  rm -rf state.json; head -c 2000000 /dev/zero >state.json; sleep 0.1
  rm -rf state.json; printf '\033[2J{{"active": [{{"name": "\\u001b[2J"}}]}}' >state.json
done
"""
LIAR: Final = "chaos-liar.service"

# The run of the load's tasks that the scheduler sends, and its entry. Seconds.
TICKS: Final = "clock"
EVERY: Final = 5
SCHEDULE: Final = {
    "fleet_schedule": {"chaos_clock": {"task": "load.tidy", "every": EVERY, "args": [TICKS, 0]}}
}
# How long an entry may take to be sent again after a jump, and how far the clock jumps.
HEALED: Final = 120.0
HOUR: Final = 3600

FAKE: Final = "/run/chaos-clock"
DROP_IN: Final = f"/run/systemd/system/{BEAT}.d/chaos.conf"
# Only the time of day is wrong, as on a host that is set anew.
FAKE_CLOCK: Final = f"""[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
Environment=FAKETIME_TIMESTAMP_FILE={FAKE} FAKETIME_NO_CACHE=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1
"""


def lie(fleet: ChaosFleet, step: Step) -> None:
    """Let a pool's own user forge its report in every way, while an operator reads it and drains the pool."""
    (unit,) = fleet.units(step.host, step.pool)
    place = f"/run/celery-fleet/{unit.removesuffix('.service')}"
    host = fleet.host(step.host)
    host.check_output(
        f"systemd-run --quiet --collect --unit={LIAR} --uid=$(stat --format=%U {shlex.quote(place)}) "
        f"bash -c {shlex.quote(LIES.format(place=shlex.quote(place)))}"
    )
    try:
        # Dead letters are no fault of this fleet.
        output = fleet.playbook("status", "--extra-vars", "status_strict=false")
        if "\x1b[2J" in output:
            raise AssertionError(f"a report of {step.pool} on {step.host} reached the terminal")
        if missing := [name for name in fleet.workers if name not in output]:
            raise AssertionError(f"status says nothing of {missing}:\n{output[-4000:]}")
    finally:
        host.check_output(f"systemctl stop {LIAR} && rm -rf {shlex.quote(place)}/state.json")
    fleet.whole([step.host])


def lose_vault(fleet: ChaosFleet) -> None:
    """Let a second operator run site.yml from a clone without the vault: refused, and nothing changes."""
    before = {name: fleet.all_units(name) for name in fleet.workers}
    with tempfile.TemporaryDirectory() as clone:
        path = f"{clone}/.secrets/vault.yml"
        output = fleet.playbook("site", "--extra-vars", f"fleet_vault_file={path}", fails=True)
    if "has the secrets of another file" not in " ".join(output.split()):
        raise AssertionError(f"site.yml without the vault does not say so:\n{output[-4000:]}")
    after = {name: fleet.all_units(name) for name in fleet.workers}
    if after != before:
        raise AssertionError(f"site.yml without the vault changed what runs: {before}, then {after}")


def prepare_clock(fleet: ChaosFleet) -> None:
    """Run a scheduler that sends a task every few seconds, with a clock on one host that can be set."""
    fleet.extra = ("--extra-vars", json.dumps(SCHEDULE))
    fleet.playbook("deploy")
    active, *_ = schedulers(fleet)
    install = (
        "DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends libfaketime"
    )
    library = "/usr/lib/*/faketime/libfaketimeMT.so.1"
    fleet.host(active).check_output(f"ls {library} || {{ apt-get update --quiet && {install}; }}")


def schedulers(fleet: ChaosFleet) -> list[str]:
    """Name the hosts that have a scheduler."""
    return [name for name in fleet.workers if fleet.host(name).run(f"systemctl cat {BEAT}").rc == 0]


def jump(fleet: ChaosFleet) -> None:
    """Let the clock of the active scheduler jump an hour ahead, and back; others then take over."""
    chosen, *others = schedulers(fleet)
    host = fleet.host(chosen)
    try:
        _set_clock(fleet, chosen, 0)
        host.check_output(
            f"mkdir -p $(dirname {DROP_IN}) && printf %s {shlex.quote(FAKE_CLOCK)} >{DROP_IN} && "
            f"systemctl daemon-reload && systemctl restart {BEAT}"
        )
        for other in others:
            fleet.host(other).check_output(f"systemctl stop {BEAT}")
        _ticks_on(fleet, "with a clock of its own")
        for seconds, what in ((HOUR, "an hour ahead"), (0, "back")):
            _set_clock(fleet, chosen, seconds)
            _ticks_on(fleet, f"with its clock {what}")
        # Whoever is next finds what the other one noted in the future.
        _set_clock(fleet, chosen, HOUR)
        _ticks_on(fleet, "with its clock ahead again")
    finally:
        host.check_output(f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl stop {BEAT}")
        for name in (*others, chosen):
            fleet.host(name).check_output(f"systemctl start {BEAT}")
    _ticks_on(fleet, "on another host")


def _set_clock(fleet: ChaosFleet, name: str, seconds: int) -> None:
    # At once, since the scheduler reads it whenever it asks for the time.
    fleet.host(name).check_output(
        f"echo '+{seconds}' >{FAKE}.new && chmod 644 {FAKE}.new && mv {FAKE}.new {FAKE}"
    )


def _ticks_on(fleet: ChaosFleet, how: str) -> None:
    """Wait for some entries that are sent from now on, and refuse a burst of them."""
    begun, before = time.monotonic(), _ticks(fleet)
    until(lambda: _ticks(fleet) >= before + 3, f"the scheduler sends its entry three times, {how}", HEALED)
    sent, seconds = _ticks(fleet) - before, time.monotonic() - begun
    if sent > 4 + seconds / EVERY:
        raise AssertionError(f"the scheduler sent {sent} entries in {seconds:.0f} s, {how}")


def _ticks(fleet: ChaosFleet) -> int:
    counted = f"cat {LEDGERS}/{TICKS}/ran-*.jsonl 2>/dev/null | wc -l"
    return sum(int(fleet.host(name).check_output(counted)) for name in fleet.workers)


def reinstall_broker(fleet: ChaosFleet, turn: itertools.count[int]) -> None:
    """Remove a broker of several from its host with all that it held; the verb installs it again."""
    brokers = fleet.scenario.groups["brokers"]
    name = brokers[next(turn) % len(brokers)]
    host = fleet.host(name)
    host.check_output(
        "systemctl stop rabbitmq-server && "
        "DEBIAN_FRONTEND=noninteractive apt-get purge --quiet --yes rabbitmq-server && "
        "rm -rf /var/lib/rabbitmq /etc/rabbitmq /etc/systemd/system/rabbitmq-server.service.d"
    )
    fleet.playbook("broker")
    until(partial(_has_all, fleet, name), f"{name} has a member of every quorum queue", HEALED)


def _has_all(fleet: ChaosFleet, name: str) -> bool:
    listed = f"rabbitmqctl --quiet list_queues --vhost {fleet.vhost} --formatter json name type members"
    run = fleet.host(name).run(listed)
    queues = [each for each in json.loads(run.stdout or "[]") if "quorum" in each["type"]]
    brokers = len(fleet.scenario.groups["brokers"])
    return bool(queues) and all(len(each["members"]) == brokers for each in queues)
