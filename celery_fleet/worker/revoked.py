"""Tasks that are cancelled: by an operator's file on the host, or by remote control, which is kept too."""

from __future__ import annotations

import json
import logging
import os
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


# What remote control has cancelled, in the directory that this variable names, for the worker's user alone.
MEMORY_FILE = "remote-revoked.json"
MEMORY_VARIABLE = "CELERY_FLEET_MEMORY"


class Revocations:
    """What is cancelled: as the host's file says it now, and what remote control has said.

    Args:
        fleet_file: Path of the fleet file, beside which the operator's file is.
        pool: The execution pool, which ends tasks that run.
    """

    def __init__(self, fleet_file: str, pool: Any) -> None:  # noqa: ANN401 - Celery has no types
        directory = os.environ.get(MEMORY_VARIABLE)
        self._memory = Path(directory, MEMORY_FILE) if directory else None
        self._path = Path(fleet_file).with_name(FILE)
        self._pool = pool
        self._seen: tuple[int, int] | None = None
        self._ids: dict[str, Mapping[str, Any]] = {}
        self._tasks: list[Mapping[str, Any]] = []
        state.revoked.expires = MEMORY
        self._remember()
        self._kept = len(state.revoked)

    def obey(self, running: Iterable[Request]) -> None:
        """Read the file if it is another one, and end what runs and is to be ended.

        Args:
            running: The tasks that the execution pool has.
        """
        if len(state.revoked) != self._kept:
            self._keep()
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
            ids, tasks = dict(document["ids"]), list(document["tasks"])
        except FileNotFoundError:
            seen, ids, tasks = (0, 0), {}, []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("Cannot read which tasks are cancelled: %s", error)
            return False
        changed, self._seen = seen != self._seen, seen
        for taken_back in self._ids.keys() - ids.keys():
            state.revoked.discard(taken_back)
        # So that the fleet's other workers learn of it, which ask when they start.
        state.revoked.update([id for id, order in ids.items() if time.time() < order["until"]])
        self._ids, self._tasks = ids, tasks
        return changed

    def _remember(self) -> None:
        """Read what workers of this pool were told before; it is a file that tasks may write, too."""
        try:
            ids = json.loads(self._memory.read_text(encoding="utf-8")) if self._memory else []
        except (OSError, ValueError, RecursionError):
            return
        if isinstance(ids, list):
            state.revoked.update([id for id in ids if isinstance(id, str)])

    def _keep(self) -> None:
        """Write what is cancelled, for the workers that come when all have stopped."""
        self._kept = len(state.revoked)
        if self._memory is None:
            return
        draft = self._memory.with_name(f".{self._memory.name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8") as memory:
                memory.write(json.dumps(list(state.revoked)))
                memory.flush()
                # Without it a loss of power may leave an empty one.
                os.fsync(memory.fileno())
            draft.replace(self._memory)
        except OSError as error:
            logger.warning("Cannot keep which tasks are cancelled: %s", error)

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
