"""Chaos over the fleet of a scenario, under a load that proves that no task is lost."""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, NamedTuple

from support.scenario import LAB, ROOT, Scenario, failures, until

from trials import hostile
from trials.assemble import assemble
from trials.chaos_report import (
    FAULTS,
    FLEET_WIDE,
    VERBS,
    Step,
    Verdict,
    judge,
    picture,
    report,
    schedule,
    table,
)
from trials.ledger import Event
from trials.load import LEDGERS, Load

RESULTS: Final = ROOT / ".cache" / "chaos"

# Seconds. The end of a fault or of the load is awaited; these only say when it has not come.
WHOLE: Final = 180.0
DRAINED: Final = 180.0
# How long a host is cut off: longer than a heartbeat of the broker is patient, shorter than a watchdog.
CUT: Final = 20.0


class Place(NamedTuple):
    """A scenario's application, and what may happen to its hosts."""

    application: str
    kinds: tuple[str, ...]


# One broker that is installed anew has lost what it held; and the hosts of the cluster have no packet filter,
# no disk of their own and one release.
SCENARIOS: Final = {
    "fleet": Place("demo", tuple(kind for kind in (*VERBS, *FAULTS) if kind != "broker reinstalled")),
    "cluster": Place(
        "load",
        (
            *("restart", "drain", "kill child", "kill main", "stop main"),
            *("hostile report", "lost vault", "clock", "broker reinstalled"),
        ),
    ),
}


class ChaosFleet:
    """The hosts of a fleet, and what can happen to them.

    Args:
        scenario: The scenario's hosts.
        load: The load that shows whether they work.
        host: Returns the testinfra host of a name.
    """

    def __init__(self, scenario: Scenario, load: Load, host: Callable[[str], Any]) -> None:
        self.scenario, self.load, self.host = scenario, load, host
        self.workers = scenario.groups["workers"]
        plans = scenario.variables("worker_plan", "fleet_app", "fleet_broker")
        self.plans = {name: plans[name]["worker_plan"] for name in self.workers}
        self.pools = {name: sorted(plan["pools"]) for name, plan in self.plans.items()}
        self.application = str(plans[self.workers[0]]["fleet_app"]["name"])
        self.vhost = str(plans[self.workers[0]]["fleet_broker"]["vhost"])
        # What every verb is given.
        self.extra: tuple[str, ...] = ()
        self.releases = 0
        turn = itertools.count()
        self.steps: dict[str, Callable[[Step], None]] = {
            "deploy": lambda _: self.deploy(),
            "rollback": lambda _: self.rollback(),
            "restart": lambda _: self.restart(),
            "drain": self.drain,
            "kill child": self.kill_child,
            "kill main": self.kill_main,
            "stop main": self.stop_main,
            "broker restart": lambda _: self.restart_broker(),
            "cut": self.cut,
            "full disk": self.fill_disk,
            "reboot": self.reboot,
            "hostile report": partial(hostile.lie, self),
            "lost vault": lambda _: hostile.lose_vault(self),
            "clock": lambda _: hostile.jump(self),
            "broker reinstalled": lambda _: hostile.reinstall_broker(self, turn),
        }

    def prepare(self) -> None:
        """Install a packet filter on the worker hosts."""
        install = (
            "DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends nftables"
        )
        for name in self.workers:
            self.host(name).check_output(f"command -v nft || {{ apt-get update --quiet && {install}; }}")

    # Reading its state.

    def units(self, host: str, pool: str) -> list[str]:
        """List the active units of a pool on a host."""
        listed = self.host(host).check_output(
            f"systemctl list-units --plain --no-legend --state=active 'celery-fleet-{pool}@*.service'"
        )
        return [line.split()[0] for line in listed.splitlines()]

    def main(self, unit: str, host: str) -> int:
        """Return the main process of a unit; 0 if it has none."""
        return int(self.host(host).check_output(f"systemctl show --property=MainPID --value '{unit}'"))

    def whole(self, hosts: Sequence[str] = ()) -> None:
        """Wait until every pool has one unit, none is on its way, and each has run a task since now."""
        since = time.time()
        for name in hosts or self.workers:
            until(
                partial(self._works, name, since),
                f"{name}: one unit of each pool, and each runs tasks",
                WHOLE,
            )

    def _works(self, name: str, since: float) -> bool:
        listed = "systemctl list-units --plain --no-legend"
        wrong = f"{listed} --state=failed,activating,deactivating 'celery-fleet-*'"
        script = "; ".join(
            [f"{wrong} | wc -l"]
            + [
                f"{listed} --state=active 'celery-fleet-{pool}@*' | wc -l; "
                f"find {LEDGERS}/{self.load.run} -name 'ran-{pool}_worker*' -newermt @{since} | wc -l"
                for pool in self.pools[name]
            ]
        )
        try:
            run = self.host(name).run(f"sh -c {shlex.quote(script)}")
        except RuntimeError:  # it does not answer
            return False
        counts = [int(each) for each in run.stdout.split()]
        if run.rc != 0 or len(counts) != 1 + 2 * len(self.pools[name]):
            return False
        failed, units, ran = counts[0], counts[1::2], counts[2::2]
        return failed == 0 and all(each == 1 for each in units) and all(ran)

    def dead_letters(self) -> int:
        """Count the dead letters of all pools."""
        listed = self.host(self.scenario.groups["brokers"][0]).check_output(
            f"rabbitmqctl --quiet list_queues --vhost {self.vhost} --no-table-headers name messages"
        )
        counts = (line.split() for line in listed.splitlines())
        return sum(int(count) for name, count in counts if name.endswith("_dead"))

    def release(self, host: str) -> str:
        """Name the current release of a host."""
        return str(
            self.host(host).check_output(
                f"basename $(readlink --canonicalize /opt/{self.application}/current)"
            )
        )

    # What an operator does.

    def playbook(self, verb: str, *arguments: str, fails: bool = False) -> str:
        """Run a verb, which must succeed, or fail.

        Args:
            verb: Name of the playbook.
            arguments: What else it is given.
            fails: Whether it must fail.

        Returns:
            What it printed.

        Raises:
            AssertionError: It did the other.
        """
        run = subprocess.run(  # noqa: S603 - an argument list, no shell
            [
                sys.executable,
                "-m",
                "ansible",
                "playbook",
                "--inventory",
                str(self.scenario.inventory),
                "site.yml" if verb == "site" else f"playbooks/{verb}.yml",
                *self.extra,
                *arguments,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if (run.returncode != 0) != fails:
            raise AssertionError(
                f"{verb} ended with {run.returncode}:\n{run.stdout[-8000:]}{run.stderr[-2000:]}"
            )
        return run.stdout

    def source(self, name: str) -> str:
        """Make a source tree that differs from the others by its name; return a verb's argument for it."""
        tree = RESULTS / "sources" / name
        if not tree.exists():
            assemble(tree)
            (tree / "load" / "RELEASE").write_text(f"{name}\n")
        return f"load_source={tree}"

    def deploy(self) -> None:
        """Deploy the one of two releases that does not run."""
        self.releases += 1
        before = self.release(self.workers[0])
        self.playbook("deploy", "--extra-vars", self.source(f"release-{self.releases % 2}"))
        self._runs(lambda release: release != before, f"another release than {before}")

    def restart(self) -> None:
        """Replace each with a new worker."""
        before = {name: self._mains(name) for name in self.workers}
        self.playbook("restart")
        for name, mains in before.items():
            if unchanged := mains & self._mains(name):
                raise AssertionError(f"{name}: {unchanged} run as before the restart")

    def _mains(self, name: str) -> set[int]:
        return {self.main(unit, name) for pool in self.pools[name] for unit in self.units(name, pool)}

    def rollback(self) -> None:
        """Roll back to the previous release."""
        before = self.release(self.workers[0])
        self.playbook("rollback")
        self.releases += 1
        self._runs(lambda release: release != before, f"another release than {before}")

    def _runs(self, right: Callable[[str], bool], what: str) -> None:
        for name, pools in self.pools.items():
            release = self.release(name)
            if not right(release):
                raise AssertionError(f"{name} has {release} as its current release, not {what}")
            for pool in pools:
                until(
                    partial(self._only, name, pool, release),
                    f"{name}: the only worker of {pool} is of {release}",
                    WHOLE,
                )

    def _only(self, name: str, pool: str, release: str) -> bool:
        return [unit.partition("@")[2].startswith(release) for unit in self.units(name, pool)] == [True]

    def drain(self, step: Step) -> None:
        """Drain a pool on a host, check that it runs nothing, and resume it."""
        arguments = ("--limit", step.host, "--extra-vars", f"fleet_pool={step.pool}")
        self.playbook("drain", *arguments, "--extra-vars", f"drain_timeout=60 drain_reason=chaos-{step.pool}")
        before = self._executed(step)
        time.sleep(2)  # the time in which nothing may happen
        if self._executed(step) != before:
            raise AssertionError(f"{step.pool} of {step.host} is drained and runs tasks")
        self.playbook("undrain", *arguments)

    def _executed(self, step: Step) -> int:
        return int(
            self.host(step.host).check_output(
                f"find {LEDGERS}/{self.load.run} -name 'ran-{step.pool}_worker*' -exec cat {{}} + | wc -l"
            )
        )

    # What happens to it.

    def kill_child(self, step: Step) -> None:
        """Kill a process that runs tasks; the worker itself goes on."""
        (unit,) = self.units(step.host, step.pool)
        main = self.main(unit, step.host)
        self.host(step.host).check_output(f"kill -KILL $(pgrep --parent {main} | tail --lines=1)")
        self.whole([step.host])
        if self.main(unit, step.host) != main:
            raise AssertionError(f"{unit} of {step.host} did not outlive its child")

    def kill_main(self, step: Step) -> None:
        """Kill a worker, which systemd starts again."""
        self._signal(step, "KILL")

    def stop_main(self, step: Step) -> None:
        """Stop a worker in its tracks, which the watchdog finds and mends."""
        self._signal(step, "STOP")

    def _signal(self, step: Step, signal: str) -> None:
        (unit,) = self.units(step.host, step.pool)
        main = self.main(unit, step.host)
        self.host(step.host).check_output(f"kill -{signal} {main}")
        until(
            lambda: self.main(unit, step.host) not in (0, main),
            f"{step.host}: {unit} has another main process than {main}",
            WHOLE,
        )
        self.whole([step.host])

    def restart_broker(self) -> None:
        """Restart the broker's service."""
        for name in self.scenario.groups["brokers"]:
            self.host(name).check_output("systemctl restart rabbitmq-server")
        self.whole()

    def cut(self, step: Step) -> None:
        """Block all packets between a worker host and the brokers for a while."""
        host = self.host(step.host)
        brokers = ", ".join(self.scenario.address(name) for name in self.scenario.groups["brokers"])
        host.check_output(
            "nft 'table ip chaos { "
            f"chain in {{ type filter hook input priority -200; ip saddr {{ {brokers} }} drop; }}; "
            f"chain out {{ type filter hook output priority -200; ip daddr {{ {brokers} }} drop; }}; }}'"
        )
        try:
            time.sleep(CUT)  # the fault itself
        finally:
            host.check_output("nft delete table ip chaos")
        self.whole([step.host])

    def fill_disk(self, step: Step) -> None:
        """Leave no room for a release on a host: its deploy fails, all goes on, and with room it succeeds."""
        host, incoming = self.host(step.host), f"/opt/{self.application}/incoming"
        host.check_output(f"findmnt --types tmpfs --mountpoint {incoming}")  # never the disk of the machine
        before = {name: self.all_units(name) for name in self.workers}
        self.releases += 1
        source = self.source(f"disk-{time.time():.0f}")
        host.run(f"dd if=/dev/zero of={incoming}/full bs=64k")  # ends when there is no room
        try:
            output = self.playbook("deploy", "--extra-vars", source, fails=True)
            if "No space left" not in output:
                raise AssertionError(f"a deploy on a full disk does not say so:\n{output[-4000:]}")
            self.whole()
            after = {name: self.all_units(name) for name in self.workers}
            if after != before:
                raise AssertionError(f"a deploy on a full disk changed what runs: {before}, then {after}")
        finally:
            host.check_output(f"rm {incoming}/full")
        self.playbook("deploy", "--extra-vars", source)

    def all_units(self, name: str) -> list[str]:
        """List the active units of all pools of a host."""
        return [unit for pool in self.pools[name] for unit in self.units(name, pool)]

    def reboot(self, step: Step) -> None:
        """Restart a host, which is its container."""
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive", "--preserve-env=CONTAINERS_CONF"]
        container = f"celery-fleet-{step.host}"
        subprocess.run(  # noqa: S603 - an argument list, no shell
            [*sudo, "podman", "restart", "--time", "10", container],
            check=True,
            capture_output=True,
            env=os.environ | {"CONTAINERS_CONF": str(LAB / "containers.conf")},
        )
        self.whole([step.host])

    # In order.

    def make(self, step: Step) -> Event:
        """Do one step of the schedule, until all is whole again."""
        # A stopped worker waits for its watchdog while something happens to other hosts.
        name = step.kind
        if touches(step):
            name += f" of {step.host}" if step.kind in ("cut", "reboot") else f", {step.pool} on {step.host}"

        def fault() -> None:
            self.steps[step.kind](step)
            if not touches(step):
                self.whole()
            elif step.kind == "drain":
                self.whole([step.host])

        return self.load.note(name, fault, step.kind, (step.host,) if touches(step) else ())


def touches(step: Step) -> bool:
    """Return whether a step touches one host only."""
    return step.kind not in FLEET_WIDE


def alone(step: Step) -> bool:
    """Return whether nothing else may happen during a step."""
    return step.kind in VERBS or not touches(step)


def chaos(
    seconds: float,
    tasks: int,
    seed: int,
    kinds: Sequence[str],
    *,
    rounds: int | None = None,
    poison: float = 0,
    name: str = "fleet",
) -> Verdict:
    """Make chaos over the fleet, and return the verdict.

    Args:
        seconds: After how many the load ends.
        tasks: After how many confirmed ones it ends, if that is earlier.
        seed: Of the schedule.
        kinds: Which verbs and faults.
        rounds: After how many rounds of all of them it ends, if that is earlier.
        poison: Messages a second that break a worker which takes them at their word.
        name: The scenario.

    Returns:
        The verdict. Ledgers, report and picture are in `.cache/chaos`.

    Raises:
        AssertionError: The fleet did not become whole again after something, or a verb failed.
    """
    scenario = Scenario(name)
    host = cache(scenario.connect)
    load = Load(scenario, host, application=SCENARIOS[name].application, kept=RESULTS, poison=poison)
    fleet = ChaosFleet(scenario, load, host)
    command = (
        f"scripts/run trials.chaos --seconds {seconds:.0f} --tasks {tasks} --seed {seed} "
        f"--faults {shlex.quote(','.join(kinds))} --poison {poison:g} --scenario {name}"
    )
    print(f"seed {seed}; ledgers in {RESULTS.relative_to(ROOT)}", flush=True)
    end = time.monotonic() + seconds
    if "cut" in kinds:
        fleet.prepare()
    if "clock" in kinds:
        hostile.prepare_clock(fleet)
    dead = fleet.dead_letters() if poison else 0
    load.start()
    try:
        fleet.whole()
        _play(fleet, seed, kinds, rounds, lambda: time.monotonic() < end and load.confirmed() < tasks)
        if rounds is None:
            while time.monotonic() < end and load.confirmed() < tasks:
                time.sleep(2)
    except BaseException:
        load.stop()
        print(failures(scenario), flush=True)
        raise
    run = load.finish(DRAINED)
    verdict = judge(run)
    if poison:
        poisoned = load.poisoned()
        until(
            lambda: fleet.dead_letters() - dead >= poisoned,
            f"each of {poisoned} poisoned messages is a dead letter",
            DRAINED,
        )
        verdict = replace(verdict, poisoned=poisoned, dead=fleet.dead_letters() - dead)
    (RESULTS / "report.md").write_text(report(run, verdict, command))
    (RESULTS / "chaos.svg").write_text(picture(run, verdict))
    print(f"\n{table(verdict)}", flush=True)
    return verdict


def _play(
    fleet: ChaosFleet, seed: int, kinds: Sequence[str], rounds: int | None, goes_on: Callable[[], bool]
) -> None:
    """Do the steps of the schedule; only a stopped worker's wait for its watchdog overlaps with others."""
    waiting: dict[str, Future[Event]] = {}
    with ThreadPoolExecutor() as executor:
        for number, step in enumerate(schedule(seed, kinds, fleet.pools)):
            if not goes_on() or (rounds is not None and number >= rounds * len(kinds)):
                break
            for host in list(waiting):
                if alone(step) or host == step.host:
                    waiting.pop(host).result()
            if step.kind == "stop main":
                waiting[step.host] = executor.submit(fleet.make, step)
            else:
                fleet.make(step)
        for future in waiting.values():
            future.result()


def up(name: str) -> None:
    """Create and converge the hosts of a scenario."""
    for command in (["create", "--scenario-name", "default"], ["converge", "--scenario-name", name]):
        subprocess.run(["molecule", *command], cwd=ROOT, check=True)  # noqa: S603, S607 - of the environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Make chaos as the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/run trials.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200, metavar="S", help="end after as many")
    parser.add_argument(
        "--tasks", type=int, default=100_000, metavar="N", help="end after as many, if earlier"
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) % 10_000, metavar="X", help="of the schedule"
    )
    parser.add_argument(
        "--faults", help="which of them, with commas; by default all that the scenario's hosts allow"
    )
    parser.add_argument(
        "--poison", type=float, default=1, metavar="N", help="messages a second that nobody can run"
    )
    parser.add_argument("--scenario", default="fleet", choices=SCENARIOS, help="whose hosts")
    parser.add_argument("--up", action="store_true", help="create and converge the hosts first")
    options = parser.parse_args(arguments)
    allowed = SCENARIOS[options.scenario].kinds
    kinds = options.faults.split(",") if options.faults else allowed
    if unknown := sorted(set(kinds) - {*allowed}):
        parser.error(f"--faults: {', '.join(unknown)} unknown; there are {', '.join(allowed)}")
    if options.up:
        up(options.scenario)
    verdict = chaos(
        options.seconds,
        options.tasks,
        options.seed,
        kinds,
        poison=options.poison,
        name=options.scenario,
    )
    return 1 if verdict.lost or verdict.unknown else 0


if __name__ == "__main__":
    sys.exit(main())
