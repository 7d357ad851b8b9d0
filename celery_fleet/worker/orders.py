"""What an operator tells one worker, by files in its runtime directory, so that it works in an outage too."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_fleet.fleet_file import POOL_VARIABLE

logger = logging.getLogger(__name__)

STATE = "state.json"
PAUSED = "paused"
CONCURRENCY = "concurrency"

INSTANCE_VARIABLE = "CELERY_FLEET_INSTANCE"
ROLLOVER_VARIABLE = "CELERY_FLEET_ROLLOVER"


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
    """One worker as its unit made it; without a directory it has neither orders nor a state file."""

    pool: str = ""
    name: str = ""
    directory: Path | None = None
    waits: bool = False

    @property
    def release(self) -> str:
        """The release that it runs; the instance is called `<release>_<digest>_<n>`."""
        return self.name.rsplit("_", 2)[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Instance:
        """Read what the unit put into the environment of this process."""
        environment = os.environ if environment is None else environment
        directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return cls(
            pool=environment.get(POOL_VARIABLE, ""),
            name=environment.get(INSTANCE_VARIABLE, ""),
            directory=Path(directory) if directory else None,
            waits=environment.get(ROLLOVER_VARIABLE) == "wait",
        )

    def orders(self) -> Orders:
        """Read what the worker shall do now."""
        if self.directory is None:
            return Orders()
        slots = None
        try:
            path = self.directory / CONCURRENCY
            slots = _number(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("Cannot read how many slots to have: %s", error)
        return Orders(
            paused=(self.directory / PAUSED).exists(),
            slots=slots,
            taken=self._taken(self.directory) if self.waits else 0,
        )

    def _taken(self, own: Path) -> int:
        """Count the tasks that the pool's other instances on this host still run."""
        taken = 0
        for path in own.parent.glob(f"celery-fleet-{self.pool}@*/{STATE}"):
            if path.parent == own:
                continue
            try:
                other = json.loads(path.read_text(encoding="utf-8"))
                if _lives(int(other["pid"])):
                    taken += len(other["active"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it is gone, or was never whole: then it runs nothing
        return taken


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
