"""One rollover on a host: new instances start beside the old ones, pass their probation, and take over."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .machine import Machine
from .names import NUMBER, Name
from .probation import Observation, Probation, ready, verdict
from .records import Worker
from .steps import RUNNING, Step
from .systemd import for_systemd

POLL = 0.3
# Seconds in which a failed instance may end, so that its unit can be removed at once.
END_TIMEOUT = 10.0


class RolloverError(Exception):
    """A new instance failed its probation; the old ones continue. The message has its journal."""


@dataclass
class Rollover:
    """What a run does on a host.

    Args:
        host: The host.
        workers: What the pools are to run, by pool.
        probation: What a new instance must pass.
    """

    host: Machine
    workers: Mapping[str, Worker]
    probation: Probation
    paused: list[str] = field(default_factory=list)

    def run(self, steps: Sequence[Step]) -> None:
        """Do the steps: all of them, or none.

        Raises:
            RolloverError: If an instance fails its probation.
            SystemdError: If systemd refuses something.
        """
        try:
            for step in steps:
                self._begin(step)
            self._start([step for step in steps if step.start])
            self._judge([step for step in steps if step.serve])
        except BaseException:
            # Whatever it is, no instance may stay that has not passed its probation.
            self._undo(steps)
            raise
        for step in steps:
            self._finish(step)

    def _begin(self, step: Step) -> None:
        """Make room, and write the unit."""
        if step.serve and step.new and self.workers[step.pool].waits:
            for old in (instance for instance in step.old if instance.up):
                self.host.pause(old.name.unit, True)
                self.paused.append(old.name.unit)
        if step.serve:
            # An earlier run may have left it paused.
            self.host.pause(step.serve.unit, False)
        if step.serve and step.start and not (self.host.units / step.serve.unit).exists():
            self._write(step.serve)

    def _write(self, name: Name) -> None:
        version = int(self.host.systemctl("--version").split()[1])
        text = for_systemd(self.workers[name.pool].unit.replace(NUMBER, str(name.number)), version)
        with tempfile.TemporaryDirectory() as directory:
            draft = Path(directory) / name.unit
            draft.write_text(text)
            self.host.call("systemd-analyze", "verify", "--man=no", str(draft))
        self.host.write(self.host.units / name.unit, text)

    def _start(self, steps: Sequence[Step]) -> None:
        units = [step.serve.unit for step in steps if step.serve]
        if units:
            self.host.systemctl("daemon-reload")
            # While a start waits in systemd's queue of jobs, a unit is still what it was before.
            failed = [unit for unit, (state, _) in self.host.show(units).items() if state == "failed"]
            if failed:
                self.host.systemctl("reset-failed", *failed)
            self.host.systemctl("start", "--no-block", *units)

    def _judge(self, steps: Sequence[Step]) -> None:
        open_steps = {step.serve.unit: step for step in steps if step.serve}
        before = {unit: restarts for unit, (_, restarts) in self.host.show(open_steps).items()}
        begun, ready_since = self.host.now(), dict[str, float]()
        while open_steps:
            now = self.host.now()
            for unit, (state, restarts) in self.host.show(list(open_steps)).items():
                step = open_steps[unit]
                # A manual start resets the count. On probation every restart counts.
                since = restarts if step.new else max(0, restarts - before[unit])
                observation = Observation(
                    state == "active",
                    state == "failed",
                    since,
                    self.host.state(unit),
                    now - begun,
                    now - ready_since[unit] if unit in ready_since else None,
                )
                waits = self.workers[step.pool].waits
                if unit not in ready_since and ready(observation, waits, step.new):
                    ready_since[unit] = now
                problem = verdict(observation, self.probation, waits, step.new)
                if problem:
                    raise RolloverError(f"{unit} {problem}; the end of its journal:\n{self._journal(unit)}")
                if problem == "":
                    del open_steps[unit]
            self.host.sleep(POLL if open_steps else 0)

    def _journal(self, unit: str) -> str:
        return self.host.call("journalctl", "--no-pager", "--output=cat", "--lines=60", f"--unit={unit}")

    def _undo(self, steps: Sequence[Step]) -> None:
        """Remove the instances that did not pass, and resume the old ones."""
        new = [step.serve.unit for step in steps if step.serve and step.new]
        new = [unit for unit in new if (self.host.units / unit).exists()]
        if new:
            self.host.systemctl("stop", "--no-block", *new)
        for unit in self.paused:
            self.host.pause(unit, False)
        end = self.host.now() + END_TIMEOUT
        while self.host.now() < end and any(state in RUNNING for state, _ in self.host.show(new).values()):
            self.host.sleep(POLL)
        # One that still finishes tasks goes when it ends.
        for unit, (state, _) in self.host.show(new).items():
            if state not in RUNNING:
                (self.host.units / unit).unlink()
        if new:
            self.host.systemctl("daemon-reload")

    def _finish(self, step: Step) -> None:
        """Enable the new instance at boot, and tell the old ones to end, without waiting for them."""
        if step.serve and step.new:
            self.host.systemctl("enable", "--quiet", step.serve.unit)
        # Of a drained pool what is enabled stays so, for when it is no longer drained.
        disable = [old.name.unit for old in step.old if old.enabled] if self._moves(step) else []
        if disable:
            self.host.systemctl("disable", "--quiet", *disable)
        stop = [old.name.unit for old in step.old if old.up]
        if stop:
            self.host.systemctl("stop", "--no-block", *stop)

    def _moves(self, step: Step) -> bool:
        return step.serve is not None or step.pool not in self.workers
