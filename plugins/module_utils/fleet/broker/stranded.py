"""Queues of the vhost that the model does not have and that hold messages, and what moves these."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from ..model.names import BEAT, DEAD, DELAYED, VERIFY
from .migration import MIGRATION

# Celery's workers declare these themselves, and nobody misses what is in them.
_CELERY_OWN: Final = re.compile(r"celeryev(\..+)?|(.+\.)?celery\.pidbox")


def is_foreign(name: str, queues: Collection[str], dead: Collection[str]) -> bool:
    """Return whether the model lacks a queue.

    Args:
        name: The queue.
        queues: The queues of all pools.
        dead: The dead-letter queues.
    """
    known = name in queues or name in dead or name in (VERIFY, BEAT) or name.startswith(DELAYED)
    return not known and not is_celerys_own(name)


def is_celerys_own(name: str) -> bool:
    """Return whether a queue is one of events or remote control, which workers declare themselves."""
    return _CELERY_OWN.fullmatch(name) is not None


def of_topology(topology: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the queues of all pools, and the dead-letter queues, of a topology."""
    dead = [each["name"] for each in topology["exchanges"] if each["name"].endswith(DEAD)]
    own = (VERIFY, BEAT, *dead)
    names = [each["name"] for each in topology["queues"]]
    return [name for name in names if name not in own and not name.startswith(DELAYED)], dead


def sentence(name: str, held: str, queues: Iterable[str]) -> str:
    """Say what strands in a queue, and give the command that moves it.

    Args:
        name: A queue that the model lacks.
        held: What it holds, in words.
        queues: The queues of all pools, the nearest of which is proposed.

    Returns:
        One line.
    """
    play = "ansible-playbook playbooks"
    near = next(iter(get_close_matches(name.removesuffix(DEAD), queues, n=1)), "QUEUE")
    old = shlex.quote(name)
    if name.startswith(MIGRATION):
        return f"{name}: an interrupted migration left {held}: {play}/migrate_queue.yml"
    if name.endswith(DEAD):
        return (
            f"{name}: the model has no such dead-letter queue, and it holds {held}: {play}/dead_letters.yml "
            f"-e dead_letters_queues={old} lists them, with -e dead_letters_action=send_back "
            f"-e dead_letters_to={near} they are run"
        )
    return (
        f"{name}: the model has no such queue, and it holds {held}: {play}/migrate_queue.yml "
        f"-e migrate_from={old} -e migrate_to={near}"
    )
