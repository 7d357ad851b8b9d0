"""What a worker tells the operator's verbs about itself: its state file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SCHEMA = 1

# Seconds between two versions of the file: at least, and at most while nothing changes.
SHORTEST = 1.0
LONGEST = 10.0


class StateFile:
    """Writes a state when it has changed, and now and then as a sign of life.

    Args:
        path: The file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._last: Mapping[str, Any] | None = None
        self._written = 0.0

    def write(self, state: Mapping[str, Any], *, at_once: bool = False) -> bool:
        """Write a state unless nothing is new.

        Args:
            state: All fields but `schema` and `updated`.
            at_once: Write it even if the last version is younger than a second.

        Returns:
            Whether the file was written. A failure is logged, since the worker is none the worse.
        """
        if self.path is None:
            return False
        age = time.monotonic() - self._written
        wait = LONGEST if state == self._last else 0.0 if at_once else SHORTEST
        if self._last is not None and age < wait:
            return False
        draft = self.path.with_name(f".{self.path.name}")
        try:
            draft.write_text(
                json.dumps({"schema": SCHEMA, **state, "updated": time.time()}), encoding="utf-8"
            )
            draft.chmod(0o640)
            draft.replace(self.path)
        except OSError as error:
            logger.warning("Cannot write the state: %s", error)
            return False
        self._last, self._written = dict(state), time.monotonic()
        return True
