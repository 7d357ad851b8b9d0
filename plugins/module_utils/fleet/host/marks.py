"""Which fleet a host carries, by its files: as a host of workers, as a broker, with the server of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .names import (
    BROKER_FILE,
    BROKER_MARK,
    FLEET,
    FLEET_MARK,
    KIT_FILE,
    RESULTS_FILE,
    RESULTS_MARK,
    below,
)

WORKERS: Final = "workers"
BROKERS: Final = "brokers"
RESULTS: Final = "results"
# The argument of modules that change workers, which the fragment `fleet` documents.
ARGUMENT: Final = {"fleet": {"type": "str", "default": FLEET}}
# Bytes of a name that are read.
_LONGEST: Final = 100
# For each part that a host may have: what it has in any case, and where the name is.
PLACES: Final = {
    WORKERS: (KIT_FILE, FLEET_MARK),
    BROKERS: (BROKER_FILE, BROKER_MARK),
    RESULTS: (RESULTS_FILE, RESULTS_MARK),
}


def carried(root: Path = Path("/")) -> dict[str, str]:
    """Return the name of the fleet by each part that a host has of one.

    Args:
        root: Where the host's files are.
    """
    return {
        part: _text(below(root, mark)) or FLEET
        for part, (always, mark) in PLACES.items()
        if below(root, always).exists()
    }


def refusal(fleet: str, root: Path = Path("/")) -> str:
    """Say why a verb of a fleet changes no workers here; empty if it may.

    Args:
        fleet: Name of the fleet.
        root: Where the host's files are.
    """
    found = carried(root).get(WORKERS, fleet)
    if found == fleet:
        return ""
    return (
        f"This host carries the fleet {found}, and this is a site of the fleet {fleet} (fleet_name): "
        "nothing was changed. See docs/use/fleets.md"
    )


def items(fleet: str, path: str, **rights: str) -> list[dict[str, Any]]:
    """Return the mark of a fleet in the form of the module ``host_state``.

    Args:
        fleet: Name of the fleet; that of a site that names none needs no mark.
        path: Where the mark is.
        rights: Owner and group.
    """
    return [] if fleet == FLEET else [{"file": path, "content": f"{fleet}\n", "mode": "0644", **rights}]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace").strip()
    except OSError:
        return ""
