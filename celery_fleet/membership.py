"""Whether a process is to be a member of a fleet: where there is one, or where somebody says so."""

from __future__ import annotations

import os
from pathlib import Path

from celery_fleet import fleet_file
from celery_fleet.fleet import Fleet
from celery_fleet.fleet_file import PATH_VARIABLE, POOL_VARIABLE

REQUIRED_VARIABLE = "CELERY_FLEET_REQUIRED"


def find(required: bool = False) -> Fleet | None:
    """Read the fleet file where there is one, or where there has to be one.

    There has to be one if CELERY_FLEET_FILE names it, CELERY_FLEET_POOL names a pool, or
    CELERY_FLEET_REQUIRED is anything but `0`, `false`, `no` or `off`; the kit names the file. Otherwise
    a host without `/etc/celery-fleet/fleet.json` has no fleet. A file that is there and cannot be read is
    always an error. CELERY_FLEET_FILE=/dev/null says that there is none.

    Args:
        required: Whether the caller cannot do without it.

    Returns:
        Its contents; none where there is no fleet.

    Raises:
        FleetFileError: As `fleet_file.load`; or there is no fleet where there has to be one.
    """
    path = os.environ.get(PATH_VARIABLE)
    required = required or _is_on(os.environ.get(REQUIRED_VARIABLE)) or bool(os.environ.get(POOL_VARIABLE))
    if not required and (path == os.devnull or (not path and _is_missing(fleet_file.DEFAULT_PATH))):
        return None
    return fleet_file.load()


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() not in ("", "0", "false", "no", "off")


def _is_missing(path: str) -> bool:
    """Return whether there is certainly no such file, not whether this process may see one."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
