"""Program of prune-celery-fleet@.service: removes what nothing needs, whenever an instance has ended."""

from __future__ import annotations

import sys
from pathlib import Path

from .host import Host, prune

if __name__ == "__main__":
    here = Host()
    with here.alone():
        for name in prune(here, Path(sys.argv[1]), int(sys.argv[2])):
            print(f"Removed {name}")
