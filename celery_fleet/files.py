"""Files of the configuration management, and what a person does about one that cannot be read."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from celery_fleet.errors import FleetFileError

# Whoever may publish tasks on a host is in this group.
CLIENTS = "celery-fleet-client"

DEPLOY = "Run the deploy play for this host, which writes it; do not edit it by hand"


def read_password(path: str) -> str:
    """Read a broker user's password.

    Args:
        path: A file that holds the password and at most a line's end.

    Returns:
        The password.

    Raises:
        FleetFileError: The file is missing, unreadable or empty.
    """
    password = read_text(path).rstrip("\r\n")
    if not password:
        raise FleetFileError(path, "empty, but must hold a password", DEPLOY)
    return password


def read_text(path: str, remedy: str = DEPLOY) -> str:
    """Read a file that the configuration management wrote.

    Args:
        path: The file.
        remedy: What a person can do when it is missing.

    Returns:
        Its text.

    Raises:
        FleetFileError: The file is missing or unreadable.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FleetFileError(path, "no such file", remedy) from error
    except PermissionError as error:
        raise FleetFileError(
            path,
            f"permission denied for user {_user()}",
            f"If it publishes tasks, name it in fleet_client_users, deploy, and start it again, so that it "
            f"is in the group {CLIENTS}; operators use the verbs verify and dead_letters, or root",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FleetFileError(path, f"cannot be read: {error}", remedy) from error


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # in a container, say
        return str(number)
