"""Bring a host's workers to the desired ones: compare, roll over, record, remove what is left over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .handover import hand_over
from .machine import Machine
from .names import slice_of
from .probation import Probation
from .prune import remove_units, surplus_units
from .records import Worker, keep, kept
from .rollover import Rollover
from .steps import Step, steps

Workers = Mapping[str, Worker | None]


class RecordError(Exception):
    """A host has no record of the requested release."""


def recorded(host: Machine, which: str, only: Collection[str] = ()) -> dict[str, Worker]:
    """Return the workers that serve, or that did before, as the host's records have them.

    Args:
        host: The host.
        which: ``release`` or ``previous``, a field of what ``Host.served`` gives.
        only: Pools to which it is restricted; all if empty.

    Returns:
        For each pool its worker; a pool without a record is left out.

    Raises:
        RecordError: If none of the pools has a record.
        ValueError: If a record can't be read.
    """
    pools = {pool: record for pool, record in host.served().items() if pool in only or not only}
    workers = {pool: kept(host, record.get(which, ""), pool) for pool, record in pools.items()}
    if workers and not any(workers.values()):
        lack = (
            "before the present one: there is nothing to go back to"
            if which == "previous"
            else "yet: deploy first"
        )
        raise RecordError(f"This host has no record of a release of {', '.join(workers)} {lack}")
    return {pool: worker for pool, worker in workers.items() if worker}


def serve(
    host: Machine,
    desired: Workers,
    slices: Mapping[str, str],
    probation: Probation,
    restart: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Make exactly the desired workers serve.

    Args:
        host: The host, which is this run's ``alone`` unless it only checks.
        desired: For each pool of the run its worker, none for a pool that goes; others stay as they are.
        slices: Text of the slice of each pool that gets a new one.
        probation: What a new instance must pass.
        restart: Whether an instance is replaced even if it is the desired one.
        check: Whether nothing is changed.

    Returns:
        Whether anything ``changed`` (or ``differs``, which no task overrides), the ``diff`` as Ansible shows
        it, and for each of the ``pools`` what it ``was``, what it ``is``, its ``unit``, what is ``done`` and
        which units still ``finish``.

    Raises:
        RolloverError: If an instance does not come to serve; then nothing has changed but the slices.
        SystemdError: If systemd refuses something.
    """
    before = host.served()
    identities = {pool: worker.identity if worker else None for pool, worker in desired.items()}
    planned = steps(host.instances(), identities, host.drained(), restart)
    diff = _differences(host, desired, slices, planned)
    workers = {pool: worker for pool, worker in desired.items() if worker}
    moved = [
        pool for pool, worker in workers.items() if before.get(pool, {}).get("release") != worker.release
    ]
    if not check:
        hand_over(host)
        _write_slices(host, slices)
        Rollover(host, workers, probation).run(planned)
        _record(host, desired)
    surplus = surplus_units(host, host.served())
    if not check:
        remove_units(host, surplus)
    differs = bool(diff or moved or surplus)
    return {
        "changed": differs,
        "differs": differs,
        "diff": diff,
        "pools": {
            step.pool: _outcome(step, desired[step.pool], before.get(step.pool, {})) for step in planned
        },
    }


def _outcome(step: Step, worker: Worker | None, before: Mapping[str, str]) -> dict[str, Any]:
    if worker is None:
        outcome = "gone"
    elif step.serve is None:
        outcome = "drained"
    else:
        outcome = "started" if step.new or step.start else "kept"
    return {
        "was": before.get("release", ""),
        "is": worker.release if worker else "",
        "unit": step.serve.unit if step.serve else "",
        "done": outcome,
        "finish": [old.name.unit for old in step.old if old.state != "inactive"],
    }


def _differences(
    host: Machine, desired: Workers, slices: Mapping[str, str], planned: list[Step]
) -> list[dict[str, str]]:
    diffs = [
        {
            "before_header": str(host.units / name),
            "after_header": str(host.units / name),
            "before": _read(host, name),
            "after": text,
        }
        for name, text in _other_slices(host, slices).items()
    ]
    for step in (step for step in planned if step.changes):
        before, after = "", ""
        for old in step.old:
            before += f"{old.name.unit}: {old.state}{', enabled' if old.enabled else ''}\n"
            after += f"{old.name.unit}: finishes what it runs\n"
        worker = desired[step.pool]
        if step.serve and worker:
            present = kept(host, host.served().get(step.pool, {}).get("release", ""), step.pool)
            before += present.unit if present else ""
            after += f"{worker.unit}{step.serve.unit}: serves\n"
        diffs.append(
            {"before_header": step.pool, "after_header": step.pool, "before": before, "after": after}
        )
    return diffs


def _other_slices(host: Machine, slices: Mapping[str, str]) -> dict[str, str]:
    """Return the slices that differ, by their names."""
    named = {slice_of(pool): text for pool, text in sorted(slices.items())}
    return {name: text for name, text in named.items() if _read(host, name) != text}


def _read(host: Machine, name: str) -> str:
    path = host.units / name
    return path.read_text() if path.exists() else ""


def _write_slices(host: Machine, slices: Mapping[str, str]) -> None:
    """Write the slices that differ; systemd applies them to what runs in them."""
    differing = _other_slices(host, slices)
    for name, text in differing.items():
        host.write(host.units / name, text)
    if differing:
        host.systemctl("daemon-reload")


def _record(host: Machine, desired: Workers) -> None:
    """Record what serves now, with its units."""
    served = host.served()
    for pool, worker in desired.items():
        if worker is None:
            served.pop(pool, None)
            continue
        before = served.get(pool, {})
        if before.get("release") != worker.release:
            served[pool] = {"release": worker.release, "previous": before.get("release", "")}
        if kept(host, worker.release, pool) != worker:
            keep(host, pool, worker)
    if served != host.served():
        host.serve(served)
