"""`python -m celery_fleet`: ask where a task would go, or prove that every queue is served."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial

from celery_fleet import fleet_file, verify
from celery_fleet.errors import FleetError, FleetFileError
from celery_fleet.router import Router

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments:
        The command line without the program's name; by default that of the process.

    Returns
    -------
    int
        0 on success; 1 when a queue is not served as it should be; 2 when the question cannot be
        answered, with the reason on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        fleet = fleet_file.load()
        if options.command == "route":
            return _route(fleet, options)
        return _verify(fleet, options)
    except FleetError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celery_fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    route = commands.add_parser(
        "route",
        help="where a task goes, and by which rule",
        description="By the fleet's rules; what the application itself says about a task comes before them.",
    )
    route.add_argument("name", help="the task's full name")
    route.add_argument("--hint", help="the resource that its publisher names")
    route.add_argument("--queue", help="the queue that its publisher names")
    route.add_argument("--periodic", action="store_true", help="beat publishes it")
    route.add_argument("--json", action="store_true", help="answer as JSON")
    check = commands.add_parser("verify", help="send a canary through every queue; the answers as JSON")
    check.add_argument(
        "--timeout", type=float, default=verify.TIMEOUT, help="seconds for all answers (default: %(default)g)"
    )
    return parser


def _route(fleet: fleet_file.Fleet, options: argparse.Namespace) -> int:
    decision = Router(fleet.routing).explain(
        options.name, queue=options.queue, hint=options.hint, periodic=options.periodic
    )
    addresses = fleet.addresses()
    if decision.queue not in addresses:
        raise FleetFileError(
            fleet.path, f"has no queue `{decision.queue}`", f"Its queues are {', '.join(addresses)}"
        )
    pool, queue = addresses[decision.queue]
    if options.json:
        answer = {
            "task": options.name,
            "queue": queue.name,
            "exchange": pool.exchange,
            "routing_key": queue.routing_key,
            "pool": pool.name,
            "rule": decision.rule,
        }
        print(json.dumps(answer))
    else:
        print(f"{options.name} → {queue.name} (pool {pool.name})")
        print(f"by {decision.rule}; exchange {pool.exchange}, routing key {queue.routing_key}")
    return 0


def _verify(fleet: fleet_file.Fleet, options: argparse.Namespace) -> int:
    report = verify.verify(fleet, options.timeout, partial(print, file=sys.stderr, flush=True))
    print(json.dumps(report.as_dict()))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
