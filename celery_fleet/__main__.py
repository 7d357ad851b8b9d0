"""`python -m celery_fleet`: ask where a task would go, prove that queues are served, deal with dead tasks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import click
from celery import Celery

from celery_fleet import fleet_file
from celery_fleet.configure import configure
from celery_fleet.errors import FleetError, FleetFileError
from celery_fleet.fleet import Fleet
from celery_fleet.operator import application, dead_letters, move_in, verify
from celery_fleet.publishing.router import Router
from celery_fleet.scheduler import check

USAGE_ERROR = 2
# Apart from 1, with which an application ends that raises when it is imported.
APPLICATION_FAULTS = 3

_tell = partial(print, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; by default that of the process.

    Returns:
        0 on success; 1 when a queue is not served as it should be; 3 when an application has faults; 69 when
        no worker answers; 2 when the question cannot be answered, with the reason on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        fleet = fleet_file.load()
        if options.command == "route":
            return _route(fleet, options)
        if options.command == "check":
            return _check(fleet, options)
        if options.command == "dead-letters":
            return _dead_letters(fleet, options)
        if options.command == "move-in":
            print(json.dumps(move_in.move(fleet, move_in.read_options(sys.stdin.read()), _tell)))
            return 0
        if options.command == "inspect":
            return _inspect(options.arguments)
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
    survey = commands.add_parser("check", help="what an application asks for and the fleet does not have")
    survey.add_argument("app", help="what `celery --app` is given")
    survey.add_argument("--clamp", action="store_true", help="take tasks with limits above their pool's")
    survey.add_argument("--json", action="store_true", help="answer as JSON")
    canaries = commands.add_parser("verify", help="send a canary through every queue; the answers as JSON")
    canaries.add_argument(
        "--timeout", type=float, default=verify.TIMEOUT, help="seconds for all answers (default: %(default)g)"
    )
    asking = commands.add_parser("inspect", help="ask workers, as `celery inspect` does", add_help=False)
    asking.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser(
        "move-in", help="take tasks over from another broker; options on standard input, the result as JSON"
    )
    _add_dead_letters(commands.add_parser("dead-letters", help="the tasks that died; the result as JSON"))
    return parser


def _add_dead_letters(parser: argparse.ArgumentParser) -> None:
    # Which ones.
    selection = argparse.ArgumentParser(add_help=False)
    for name, meaning in {
        "pool": "of this pool",
        "queue": "that died in this queue, or are in this dead-letter queue, which the model may have lost",
        "task": "whose name fits this pattern (* and ?)",
        "id": "with this id",
        "reason": "rejected, delivery_limit, expired, maxlen or unknown",
    }.items():
        selection.add_argument(
            f"--{name}", action="append", default=[], help=f"only those {meaning}; may be repeated"
        )
    selection.add_argument(
        "--older-than", type=float, default=0, help="only those that died more than so many seconds ago"
    )
    selection.add_argument("--limit", type=int, help="only so many, the oldest")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", parents=[selection], help="look, and leave everything as it is")
    listing.add_argument("--details", type=int, help="show at most so many one by one (default: all)")
    back = actions.add_parser("send-back", parents=[selection], help="let the broker move them back")
    back.add_argument("--all", action="store_true", help="all of them, if nothing selects some")
    back.add_argument("--to", metavar="QUEUE", help="to this queue instead of those that they came from")
    back.add_argument(
        "--policies-checked",
        action="store_true",
        required=True,
        help="you have seen that the policies of the dead-letter queues dead-letter to the pools' exchanges; "
        "without these the broker would drop what is sent back (the playbook looks)",
    )
    export = actions.add_parser("export", parents=[selection], help="write them to a new file")
    export.add_argument("file", help="JSON lines with headers, properties and body; mode 0600")
    delete = actions.add_parser("delete", parents=[selection], help="delete them for good")
    delete.add_argument("--all", action="store_true", help="all of them, if nothing selects some")
    certain = delete.add_mutually_exclusive_group(required=True)
    certain.add_argument("--exported", metavar="FILE", help="only those that this export holds")
    certain.add_argument("--yes", action="store_true", help="also those that no export holds")
    for each in (listing, back, export, delete):
        each.set_defaults(parser=each)


def _route(fleet: Fleet, options: argparse.Namespace) -> int:
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


def _check(fleet: Fleet, options: argparse.Namespace) -> int:
    app = application.load(options.app)
    survey = application.survey(app, fleet, clamps=options.clamp)
    if options.json:
        print(f"\n{json.dumps({**asdict(survey), 'periodic': check.report(app)})}")
    else:
        warnings = (f"Warning: {warning}" for warning in survey.warnings)
        print(f"{len(survey.tasks)} tasks: {', '.join(survey.tasks)}", *survey.faults, *warnings, sep="\n")
    return APPLICATION_FAULTS if survey.faults else 0


def _inspect(arguments: Sequence[str]) -> int:
    """Ask workers, as Celery's own command does, without the application."""
    app = Celery("celery_fleet", set_as_current=False)
    configure(app, required=True)
    try:
        return int(app.start(["inspect", *arguments]) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _verify(fleet: Fleet, options: argparse.Namespace) -> int:
    report = verify.verify(fleet, options.timeout, _tell)
    print(json.dumps(report.as_dict()))
    return 0 if report.passed else 1


def _dead_letters(fleet: Fleet, options: argparse.Namespace) -> int:
    exported = options.action == "delete" and options.exported
    selection = dead_letters.Selection(
        pools=options.pool,
        queues=options.queue,
        tasks=options.task,
        ids=options.id,
        reasons=options.reason,
        older_than=options.older_than,
        limit=options.limit,
        keys=dead_letters.read_exported(exported) if exported else None,
    )
    everything = selection == dead_letters.Selection(pools=[], queues=[], tasks=[], ids=[], reasons=[])
    if everything and options.action in ("send-back", "delete") and not options.all:
        options.parser.error("say which ones, or --all")
    letters = dead_letters.DeadLetters(fleet, _tell)
    if options.action == "list":
        result = letters.look(selection)
    elif options.action == "export":
        result = letters.export(selection, options.file)
    else:
        back = options.action == "send-back"
        result = letters.send_back(selection, options.to) if back else letters.delete(selection)
    print(json.dumps(result.as_dict(options.details if options.action == "list" else 0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
