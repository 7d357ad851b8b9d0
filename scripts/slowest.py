"""Prints the slowest cases of a run of the tests, from the records (JUnit XML) that its stages left."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

COUNT = 10


def cases(records: Path) -> list[tuple[float, str, str]]:
    """Return seconds, stage and name of every case, the slowest first.

    Args:
        records: Directory with a file for each stage, named after it. A case's seconds include its fixtures.
    """
    return sorted(
        (
            (float(case.get("time", 0)), record.stem, f"{case.get('classname')}::{case.get('name')}")
            for record in records.glob("*.xml")
            for case in ElementTree.parse(record).iter("testcase")  # noqa: S314 - pytest's own
        ),
        reverse=True,
    )


def main(directory: str) -> None:
    """Print the slowest."""
    for seconds, stage, name in cases(Path(directory))[:COUNT]:
        print(f"  {seconds:7.1f} s  {stage}: {name}")


if __name__ == "__main__":
    main(sys.argv[1])
