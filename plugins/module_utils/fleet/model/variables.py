"""Environment variables of the application's processes that a site may not set, because the fleet does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_BROKER: Final = r"CELERY_BROKER_(READ_|WRITE_)?URL"
_OWN: Final = r"CELERY_FLEET_[A-Za-z0-9_]+"
# Options of `celery worker` and `celery beat` that the units do not give. The commands read them from these
# variables.
_OPTION: Final = (
    r"CELERY_(WORKER|BEAT)_"
    r"(AUTOSCALE|DETACH|EXCLUDE_QUEUES|GID|LOGFILE|PIDFILE|POOL_START_METHOD|PURGE|STATEDB|UID)"
)
# What systemd tells the processes of a unit.
_SYSTEMD: Final = (
    r"(NOTIFY_SOCKET|WATCHDOG_(PID|USEC)|(STATE|RUNTIME|CREDENTIALS)_DIRECTORY|"
    r"LISTEN_(FDS|FDNAMES|PID)|MAINPID|MANAGERPID|INVOCATION_ID|JOURNAL_STREAM)"
)
# All of them, as JavaScript reads it too.
TAKEN: Final = f"^({_BROKER}|{_OWN}|{_OPTION}|{_SYSTEMD})$"


def taken(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Find the variables that would override the fleet.

    Args:
        names: Names of environment variables.

    Returns:
        Of each that must not be set, by its name, the reason and the remedy.
    """
    reasons = ((name, _why(name)) for name in names)
    return {name: why for name, why in reasons if why is not None}


def _why(name: str) -> tuple[str, str] | None:
    if re.fullmatch(_BROKER, name):
        return (
            "Celery prefers it to every setting, so tasks would go to another broker than the fleet's",
            "remove it: celery_fleet.configure gives the application its broker. Where the application's own "
            "settings read the variable, let them do without it: os.environ.get('" + name + "')",
        )
    if re.fullmatch(_OWN, name):
        return "the units of the kit set the variables of this name", "remove it"
    if re.fullmatch(_SYSTEMD, name):
        return "systemd tells the process with it what it must know of its unit", "remove it"
    if option := re.fullmatch(_OPTION, name):
        command, flag = option[1].lower(), option[2].lower().replace("_", "-")
        return (
            f"`celery {command}` would run with --{flag}, which its unit does not give",
            "remove it; what a worker is started with follows from its pool's fields",
        )
    return None
