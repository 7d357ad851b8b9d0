"""`celery-fleet` on a host: commands of the application, and questions to workers, by hand."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from .command import Command, CommandError, new_unit, options
from .machine import Machine
from .names import COMMANDS, below

USAGE_ERROR: Final = 2
NOT_STARTED: Final = 127
# systemd-run leaves the terminal's colours and title alone.
PLAIN: Final = {"SYSTEMD_TINT_BACKGROUND": "0", "SYSTEMD_ADJUST_TERMINAL_TITLE": "0"}
EXAMPLES: Final = """\
examples:
  celery-fleet run python manage.py shell
  celery-fleet run --pool io python -c 'import os; print(os.environ["OMP_NUM_THREADS"])'
"""


def main(root: Path, arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        root: Directory of the application.
        arguments: The command line without the program's name; by default that of the process.

    Returns:
        What the command ended with; 127 if there is no such program, release or pool, 255 if a signal ended
        it.
    """
    asked = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("celery-fleet: only root may run commands as the application's user: use sudo", file=sys.stderr)
        return USAGE_ERROR
    current = root / "current"
    release = asked.release or (current.readlink().name if current.is_symlink() else "")
    unit, host = new_unit(), Machine()
    try:
        if not release:
            raise CommandError(f"There is no {current}: deploy first")
        pool = asked.pool if asked.verb == "run" else _own_pool(host)
        run = options(host, Command(_argv(asked, pool), root, release, pool), unit)
    except CommandError as error:
        print(f"celery-fleet: {error}", file=sys.stderr)
        return NOT_STARTED
    return _run(unit, run, asked.timeout)


def _argv(asked: argparse.Namespace, pool: str) -> list[str]:
    """Return the program that is run, and its arguments."""
    if asked.verb == "inspect":
        # With the rights of a worker: those of clients do not reach the workers.
        worker = ["env", f"CELERY_FLEET_POOL={pool}", "python", "-P", "-m", "celery_fleet"]
        return [*worker, "inspect", *asked.arguments]
    command: list[str] = asked.command
    return command[1:] if command[0] == "--" else command


def _own_pool(host: Machine) -> str:
    """Return a pool of this host.

    Raises:
        CommandError: It has none.
    """
    pools = sorted(path.stem for path in below(host.root, COMMANDS).glob("*.conf"))
    if not pools:
        raise CommandError("This host runs no pool; only hosts that run one may ask workers")
    return pools[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="celery-fleet", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser(
        "run",
        help="run a command of the application",
        description="Run a command of the application's release as its user, with the environment, secrets "
        "and sandbox of its workers. The release's own programs come before the host's.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--pool", default="", help="with the environment of this pool of the host")
    run.add_argument("--release", default="", help="of this release instead of the current one")
    run.add_argument("--timeout", type=int, metavar="SECONDS", help="end it after so many seconds")
    run.add_argument("command", nargs=argparse.PARSER, help="the program and its arguments")
    inspect = verbs.add_parser(
        "inspect",
        help="ask all workers of the fleet, as `celery inspect` does",
        add_help=False,
    )
    inspect.add_argument("arguments", nargs=argparse.REMAINDER)
    inspect.set_defaults(release="", timeout=None)
    return parser


def _run(unit: str, run: Sequence[str], timeout: int | None) -> int:
    """Run a command in this terminal, or between these pipes, and end it if this program is ended."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    more = ["--pty"] if terminal else ["--pipe"]
    if terminal and (kind := os.environ.get("TERM")):
        more.append(f"--setenv=TERM={kind}")
    if timeout is not None:
        more.append(f"--property=RuntimeMaxSec={timeout}")
    # A terminal's own signals go to the command by its terminal. Without one, systemd-run must outlive them
    # to tell how the command ended.
    called = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", "--service-type=exec", *more]
    process = subprocess.Popen([*called, *run], env=os.environ | PLAIN, start_new_session=not terminal)  # noqa: S603
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _passing_on(unit))
    return process.wait()


def _passing_on(unit: str) -> Callable[[int, FrameType | None], None]:
    """Return a handler that gives a signal to the processes of a unit."""

    def handle(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        subprocess.run(["systemctl", "kill", f"--signal={name}", unit], check=False, capture_output=True)  # noqa: S603, S607

    return handle
