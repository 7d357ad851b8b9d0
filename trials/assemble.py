"""The source tree of the load's application: the demo with the load's package beside it.

`scripts/run trials.assemble` writes it to where the scenarios `cluster` and `fleet` take it from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
APPLICATION: Final = ROOT / ".cache" / "trials" / "application"


def assemble(tree: Path) -> None:
    """Make the source tree anew.

    Args:
        tree: Its directory. What is there is removed.
    """
    shutil.rmtree(tree, ignore_errors=True)
    for part in (ROOT / "examples" / "demo", ROOT / "trials" / "application"):
        shutil.copytree(part, tree, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


if __name__ == "__main__":
    assemble(APPLICATION)
