"""Who dies when a pool's memory is used up: the process of a task, not the worker's main process."""

from __future__ import annotations

import logging
from pathlib import Path

from celery.signals import worker_process_init

logger = logging.getLogger(__name__)

SCORE = Path("/proc/self/oom_score_adj")

# Thousandths of the memory that the kernel adds to the size of a process when it chooses whom to kill (see
# proc_pid_oom_score_adj(5)): half of the pool's budget. A child shares most of what its parent holds, so the
# parent is never so much larger. With all of it, tasks would die for any other process of a full host.
CHILD = 500


def register() -> None:
    """Let each child of a prefork pool offer itself to the kernel when it starts."""
    worker_process_init.connect(_offer, weak=False, dispatch_uid="celery_fleet.worker.memory")


def _offer(**_: object) -> None:
    try:
        if int(SCORE.read_text()) < CHILD:
            SCORE.write_text(str(CHILD))
    except OSError as error:
        logger.warning("The kernel may kill the worker instead of this process: %s", error)
