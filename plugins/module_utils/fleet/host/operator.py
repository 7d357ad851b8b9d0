"""`celery-fleet` on a host: run a command of the application by hand, in a terminal or in a pipe."""

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
    argv = asked.command[1:] if asked.command[0] == "--" else asked.command
    if os.geteuid() != 0:
        print("celery-fleet: only root may run commands as the application's user: use sudo", file=sys.stderr)
        return USAGE_ERROR
    current = root / "current"
    release = asked.release or (current.readlink().name if current.is_symlink() else "")
    unit = new_unit()
    try:
        if not release:
            raise CommandError(f"There is no {current}: deploy first")
        run = options(Machine(), Command(argv, root, release, asked.pool), unit)
    except CommandError as error:
        print(f"celery-fleet: {error}", file=sys.stderr)
        return NOT_STARTED
    return _run(unit, run, asked.timeout)


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
