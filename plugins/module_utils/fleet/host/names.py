"""Names of the fleet's units: made and read in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "celery-fleet-"
NUMBER: Final = "@n@"
_UNIT: Final = re.compile(
    rf"{PREFIX}(?P<pool>[^@]+)@(?P<release>.+?)(?:_(?P<digest>[0-9a-f]{{8}})_(?P<number>\d+))?\.service"
)

_IDENTITY: Final = re.compile(
    rf"CELERY_FLEET_INSTANCE=(?P<release>[^_\s]+)_(?P<digest>[0-9a-f]{{8}})_{NUMBER}"
)


@dataclass(frozen=True)
class Name:
    """What the name of an instance's unit says; units of kits before this one have no digest."""

    pool: str
    release: str
    digest: str = ""
    number: int = 0

    @classmethod
    def parse(cls, unit: str) -> Name | None:
        """Read the name of a unit; none if it is no instance's.

        Args:
            unit: Name of a unit.
        """
        found = _UNIT.fullmatch(unit)
        return found and cls(
            found["pool"], found["release"], found["digest"] or "", int(found["number"] or 0)
        )

    @property
    def instance(self) -> str:
        """What stands between the at sign and the suffix."""
        return f"{self.release}_{self.digest}_{self.number}" if self.digest else self.release

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return f"{PREFIX}{self.pool}@{self.instance}.service"


def identity(text: str) -> tuple[str, str]:
    """Read which release and which digest a rendered unit is of.

    Args:
        text: The unit, with its number still open.

    Returns:
        Release and digest.

    Raises:
        ValueError: If it does not say.
    """
    found = _IDENTITY.search(text)
    if not found:
        raise ValueError(f"the unit has no CELERY_FLEET_INSTANCE=<release>_<digest>_{NUMBER}")
    return found["release"], found["digest"]
