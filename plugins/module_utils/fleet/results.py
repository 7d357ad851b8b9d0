"""The server of results: its users, what each may do, and how much memory it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from .model.names import RESULTS_CLIENT, RESULTS_KIT, RESULTS_WORKER

USERS: Final = (RESULTS_KIT, RESULTS_WORKER, RESULTS_CLIENT)

# While the server rewrites its append-only file, every page that changes is there twice.
PEAK: Final = 2

# Celery's names for a task's result, and for what belongs to a group or a chord; an id is a UUID.
_TASKS: Final = "celery-task-meta-*"
_GROUPS: Final = "celery-taskset-meta-*"
_GROUP: Final = "celery-taskset-meta-????????-????-????-????-????????????"

_CONNECT: Final = "+ping +hello +select"
_RULES: Final[Mapping[str, str]] = {
    RESULTS_KIT: f"{_CONNECT} +info +config|get +acl|load",
    # Chords count their parts in lists, sorted sets and scripts, which run with their caller's rights.
    RESULTS_WORKER: (
        f"~{_TASKS} ~{_GROUPS} &{_TASKS} &{_GROUPS} {_CONNECT} +get +mget +set +setex +del +expire +incr "
        "+incrby +multi +exec +publish +subscribe +unsubscribe +eval +evalsha +script|load +zadd +zcount "
        "+zrange +rpush +llen +lrange +sadd +sismember"
    ),
    # Reads results and forgets them. Whoever publishes a chord writes how many parts it has, and who saves a
    # group its members; the parts' own results stay the workers'.
    RESULTS_CLIENT: (
        f"%R~{_TASKS} %R~{_GROUPS} &{_TASKS} {_CONNECT} +get +mget +subscribe +unsubscribe +multi +exec "
        f"(+del ~{_TASKS}) (+set +setex +del ~{_GROUP} ~{_GROUP}.s ~{_GROUP}.c) (+publish &{_GROUPS})"
    ),
}


def acl(passwords: Mapping[str, str], further: Mapping[str, str] | None = None) -> str:
    """Write the server's file of users, with hashes in place of passwords.

    Args:
        passwords: The password of each of ``USERS``.
        further: Passwords that count beside these, while one replaces the other.

    Returns:
        A line for each user.
    """
    lines = ["user default off -@all"]
    for user in USERS:
        counts = dict.fromkeys(each for each in (passwords[user], (further or {}).get(user)) if each)
        hashes = " ".join(f"#{hashlib.sha256(each.encode()).hexdigest()}" for each in counts)
        lines.append(f"user {user} on {hashes} resetchannels -@all {_RULES[user]}")
    return "\n".join(lines) + "\n"
