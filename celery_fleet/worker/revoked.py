"""Tasks that an operator has cancelled, by a file of the host, which outlives workers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from celery.worker import state
from celery.worker.request import Request

logger = logging.getLogger(__name__)

# Beside the fleet file. The kit writes it.
FILE = "revoked.json"

# Seconds for which a worker remembers what was cancelled by remote control, since a delayed task may come due
# long after. Celery forgets it after three hours, at the next start of any worker.
MEMORY = 90 * 24 * 3600.0


class Revocations:
    """What an operator has cancelled, as the host's file says it now.

    Args:
        fleet_file: Path of the fleet file, beside which it is.
        pool: The execution pool, which ends tasks that run.
    """

    def __init__(self, fleet_file: str, pool: Any) -> None:  # noqa: ANN401 - Celery has no types
        self._path = Path(fleet_file).with_name(FILE)
        self._pool = pool
        self._seen: tuple[int, int] | None = None
        self._ids: dict[str, Mapping[str, Any]] = {}
        self._tasks: list[Mapping[str, Any]] = []
        state.revoked.expires = MEMORY

    def obey(self, running: Iterable[Request]) -> None:
        """Read the file if it is another one, and end what runs and is to be ended.

        Args:
            running: The tasks that the execution pool has.
        """
        if not self._changed():
            return
        for request in running:
            order = self._order(request)
            if order is not None and order.get("terminate") and not request._already_revoked:
                self._terminate(request)

    def mark(self, request: Request) -> None:
        """Let Celery drop a task that is about to run, if it is cancelled.

        Args:
            request: The task.
        """
        if (self._ids or self._tasks) and self._order(request) is not None:
            state.revoked.add(request.id)

    def _changed(self) -> bool:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return False
            document = json.loads(self._path.read_text(encoding="utf-8"))
            self._ids, self._tasks = dict(document["ids"]), list(document["tasks"])
        except FileNotFoundError:
            seen = (0, 0)
            self._ids, self._tasks = {}, []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("Cannot read which tasks are cancelled: %s", error)
            return False
        changed, self._seen = seen != self._seen, seen
        # So that the fleet's other workers learn of it, which ask when they start.
        state.revoked.update(list(self._ids))
        return changed

    def _order(self, request: Request) -> Mapping[str, Any] | None:
        now = time.time()
        by_id = self._ids.get(request.id)
        if by_id is not None and now < by_id["until"]:
            return by_id
        for order in self._tasks:
            if (
                now < order["until"]
                and fnmatchcase(request.name, order["name"])
                and _older(request, order["before"])
            ):
                return order
        return None

    def _terminate(self, request: Request) -> None:
        try:
            request.terminate(self._pool)
            logger.warning("Task %s[%s] was ended by an operator", request.name, request.id)
        except NotImplementedError:
            logger.error("Task %s[%s] runs on: this execution pool ends no task", request.name, request.id)


def _older(request: Request, before: float) -> bool:
    """Return whether a task was published before a moment; one that does not say when counts as old."""
    published = request.message.properties.get("timestamp")
    return not isinstance(published, int) or published <= before
