"""What an operator tells one worker, by files that only root writes, so that it works in an outage too."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_fleet.fleet_file import POOL_VARIABLE

logger = logging.getLogger(__name__)

STATE = "state.json"
PAUSED = "paused"
CONCURRENCY = "concurrency"
# Bytes of a state that are read; more than any worker writes.
LARGEST = 1024 * 1024

INSTANCE_VARIABLE = "CELERY_FLEET_INSTANCE"
ROLLOVER_VARIABLE = "CELERY_FLEET_ROLLOVER"
ORDERS_VARIABLE = "CELERY_FLEET_ORDERS"


@dataclass(frozen=True)
class Orders:
    """What a worker shall do now.

    `slots` is None where nothing but the unit's own arguments says it; `taken` is how many of them the tasks
    of the pool's other instances on this host still have.
    """

    paused: bool = False
    slots: int | None = None
    taken: int = 0


@dataclass(frozen=True)
class Instance:
    """One worker as its unit made it.

    Without a runtime `directory` it has no state file, and without one of orders (`told`) it has none.
    """

    pool: str = ""
    name: str = ""
    directory: Path | None = None
    told: Path | None = None
    waits: bool = False

    @property
    def release(self) -> str:
        """The release that it runs; the instance is called `<release>_<digest>_<n>`."""
        return self.name.rsplit("_", 2)[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Instance:
        """Read what the unit put into the environment of this process."""
        environment = os.environ if environment is None else environment
        runtime = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        directory = Path(runtime) if runtime else None
        return cls(
            pool=environment.get(POOL_VARIABLE, ""),
            name=environment.get(INSTANCE_VARIABLE, ""),
            directory=directory,
            told=_told(environment.get(ORDERS_VARIABLE, ""), directory),
            waits=environment.get(ROLLOVER_VARIABLE) == "wait",
        )

    def orders(self) -> Orders:
        """Read what the worker shall do now."""
        taken = self._taken(self.directory) if self.waits and self.directory else 0
        if self.told is None:
            return Orders(taken=taken)
        slots = None
        try:
            path = self.told / CONCURRENCY
            slots = _number(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("Cannot read how many slots to have: %s", error)
        return Orders(
            paused=(self.told / PAUSED).exists(),
            slots=slots,
            taken=taken,
        )

    def _taken(self, own: Path) -> int:
        """Count the tasks that the pool's other instances on this host still run."""
        taken = 0
        for path in own.parent.glob(f"celery-fleet-{self.pool}@*/{STATE}"):
            if path.parent == own:
                continue
            try:
                other = json.loads(_read(path))
                if _lives(int(other["pid"])):
                    taken += len(other["active"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue  # it is gone, or was never whole: then it runs nothing
        return taken


def _told(orders: str, directory: Path | None) -> Path | None:
    """Return where this start of the unit finds its orders: systemd keeps the directory over a crash only."""
    try:
        return Path(orders, str(directory.stat().st_ino)) if orders and directory else None
    except FileNotFoundError:
        return None


def _read(path: Path) -> bytes:
    """Return what a regular file holds: its directory is that of other tasks."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as content:
        return content.read(LARGEST) if stat.S_ISREG(os.fstat(file).st_mode) else b""


def _number(text: str, where: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not text.isdecimal():
        logger.warning("%s must hold a whole number of slots, not %r", where, text)
        return None
    return int(text)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
