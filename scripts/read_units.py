"""Writes a first model of workers that somebody started by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from fleet.units.formats import UnitError, read_file
from fleet.units.model import First, first_model
from fleet.units.workers import workers_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Read files, and print a model.

    Args:
        arguments: The command line without the program's name; by default that of the process.

    Returns:
        0; 2 if a file cannot be read, or starts no worker.
    """
    parser = argparse.ArgumentParser(prog="scripts/read_units", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    workers = []
    for path in parser.parse_args(arguments).files:
        try:
            found = [worker for command in read_file(path) for worker in workers_of(command)]
        except (UnitError, ValueError) as error:
            print(f"{path}: {error}" if not isinstance(error, UnitError) else error, file=sys.stderr)
            return 2
        if not found:
            print(f"{path}: starts no worker of Celery", file=sys.stderr)
            return 2
        workers += found
    first = first_model(workers)
    for name, sentence in first.findings:
        print(f"{name}: {sentence}.", file=sys.stderr)
    print(text(first), end="")
    return 0


def text(first: First) -> str:
    """Write the variables of a site.

    Args:
        first: The model.
    """
    lines = ["# A first model, of how the workers were started. Look at each pool's demand and limits."]
    lines += [f"# {name}: of {ascii(origin)[1:-1]}" for name, origin in first.origins.items()]
    return "\n".join(["---", *lines, yaml.safe_dump(first.variables, sort_keys=False, allow_unicode=False)])


if __name__ == "__main__":
    sys.exit(main())
