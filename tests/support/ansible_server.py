"""Runs Ansible's programs, each in a process of its own that is forked from this one.

To import Ansible takes most of a short run, and each of its tasks' processes would import the kit's filters
again, which Ansible compiles every time. Here all of them find both imported. A line of standard input is a
run (its command, its directory, and the files of its output and its errors), and a line of standard output
the code with which it ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import ansible.cli
from ansible.cli import adhoc, inventory, playbook
from ansible.plugins.loader import init_plugin_loader

MAIN = {"ansible": adhoc.main, "ansible-inventory": inventory.main, "ansible-playbook": playbook.main}


def serve() -> None:
    """Fork for each run until there is no more."""
    init_plugin_loader()
    ansible.cli.init_plugin_loader = lambda *_: None  # as each run would, but it can be done once only
    for path in (Path(__file__).parents[2] / "plugins/filter").glob("*.py"):
        import_module(f"ansible_collections.celery_fleet.kit.plugins.filter.{path.stem}")
    for line in sys.stdin:
        command, directory, *files = json.loads(line)
        process = os.fork()
        if not process:
            os.chdir(directory)
            os.environ["PWD"] = directory
            for number, file in enumerate([os.devnull, *files]):
                os.dup2(os.open(file, os.O_RDWR), number)
            run(MAIN[command[0]], command)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def run(main: Callable[[list[str]], None], command: list[str]) -> NoReturn:
    """Run a program, and end as it does."""
    code = 250
    try:
        main(command)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


serve()
