"""A pool's worker as data, and the records of workers that a host keeps to restart them or to go back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from .machine import Machine
from .names import NUMBER

SCHEMA: Final = 1


@dataclass(frozen=True)
class Worker:
    """What a pool runs on a host.

    Attributes:
        release: Name of the release.
        digest: Eight characters that differ if the worker must be replaced.
        rollover: ``overlap`` or ``wait``, the pool's field.
        unit: Text of its unit, in which ``names.NUMBER`` stands for the number of the instance.
        figures: What `plan` compares, by name; none if the record is of an earlier kit.
    """

    release: str
    digest: str
    rollover: str
    unit: str
    figures: Mapping[str, Any] | None = field(default=None)

    @property
    def waits(self) -> bool:
        """Whether a new instance gets only the room that the old one's tasks leave."""
        return self.rollover == "wait"

    @property
    def identity(self) -> tuple[str, str]:
        """Release and digest, by which instances are told apart."""
        return self.release, self.digest


def _text(host: Machine, release: str, pool: str) -> Path:
    return host.config / "units" / release / f"{pool}.service"


def kept(host: Machine, release: str, pool: str) -> Worker | None:
    """Read the record of a pool's worker; none if there is none.

    Args:
        host: The host.
        release: Name of the release.
        pool: The pool.

    Raises:
        ValueError: If the record names no release and digest.
    """
    path = _text(host, release, pool)
    if not release or not path.is_file():
        return None
    unit, data = path.read_text(), path.with_suffix(".json")
    if not data.is_file():
        return _of_an_earlier_kit(unit)
    record = json.loads(data.read_text())
    return Worker(record["release"], record["digest"], record["rollover"], unit, record["figures"])


def _of_an_earlier_kit(unit: str) -> Worker:
    """Read a record of an earlier kit, which has only the unit's text."""
    variables = dict(re.findall(r"^Environment=CELERY_FLEET_(INSTANCE|ROLLOVER)=(\S+)$", unit, re.MULTILINE))
    release, _, digest = variables.get("INSTANCE", "").removesuffix(f"_{NUMBER}").rpartition("_")
    if not release:
        raise ValueError("a recorded unit has no release or digest: deploy this host again")
    return Worker(release, digest, variables.get("ROLLOVER", "overlap"), unit)


def keep(host: Machine, pool: str, worker: Worker) -> None:
    """Write the record of a pool's worker."""
    path = _text(host, worker.release, pool)
    data = {"schema": SCHEMA, **asdict(worker)}
    del data["unit"]
    host.write(path, worker.unit)
    host.write(path.with_suffix(".json"), json.dumps(data, indent=2, sort_keys=True) + "\n")


def installed(host: Machine) -> dict[str, dict[str, Any]]:
    """Return what each pool of a host runs.

    Args:
        host: The host.

    Returns:
        For each pool the ``figures`` of its worker, none if they are not known, and the ``releases`` of the
        instances that take tasks.
    """
    served, instances = host.served(), host.instances()
    pools: dict[str, dict[str, Any]] = {}
    for pool in sorted({*served, *(instance.name.pool for instance in instances)}):
        record = kept(host, served.get(pool, {}).get("release", ""), pool)
        running = [instance for instance in instances if instance.name.pool == pool]
        pools[pool] = {
            "figures": record and record.figures,
            "releases": sorted({instance.name.release for instance in running if instance.up}),
        }
    return pools
