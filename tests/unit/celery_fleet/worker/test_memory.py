from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from celery_fleet.worker.memory import CHILD

# In an interpreter of its own, because a fork of one with threads may hang.
FORK = """
import os
from celery.signals import worker_process_init
from celery_fleet.worker import memory

memory.register()
if not os.fork():
    worker_process_init.send(sender=None)
    print(memory.SCORE.read_text(), end="", flush=True)
    os._exit(0)
os.wait()
print(memory.SCORE.read_text(), end="")
"""


def test_a_child_dies_before_its_parent_when_memory_is_used_up() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True)
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert [int(line) for line in done.stdout.splitlines()] == [max(own, CHILD), own]
    assert own < CHILD
