"""Hooks of a release, and commands of the application, on real hosts."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scenario import MOLECULE, ROOT, Scenario, until

FIRST, SECOND = "molecule-app-13", "molecule-app-12"
STATE = "/var/lib/celery-fleet"
UNIT = "celery-fleet-before_release.service"
RUN = ROOT / "playbooks" / "run.yml"

Hosts = Callable[[str], Any]


def playbook(scenario: Scenario, path: Path, *options: str, **variables: object) -> subprocess.Popen[str]:
    """Start a playbook in a session of its own."""
    return subprocess.Popen(
        [
            "ansible-playbook",
            f"--inventory={scenario.inventory}",
            f"--extra-vars={json.dumps(variables)}",
            *options,
            str(path),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "celery_fleet.kit.screen"},
    )


def deploy(scenario: Scenario, *hooks: tuple[str, list[str], int]) -> subprocess.Popen[str]:
    """Start a deploy of the release that there is, with these hooks before it."""
    before = [{"name": name, "command": command, "timeout": timeout} for name, command, timeout in hooks]
    return playbook(scenario, MOLECULE / "app" / "converge.yml", app_before=before)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    printed, _ = process.communicate()
    return process.returncode, printed


def test_each_hook_ran_once_where_it_should(host: Hosts) -> None:
    place = host(FIRST).check_output("readlink -f /opt/demo/current")
    release = Path(place).name

    def counts(hook: str) -> list[int]:
        """How often a hook of the release ran on each host."""
        shown = f"cat {STATE}/{hook}-{release} 2>/dev/null | wc -c"
        return [int(host(name).check_output(shown)) for name in (FIRST, SECOND)]

    assert counts("prepared") == [1, 1]
    assert counts("migrated") == [1, 0]
    assert counts("announced") == [1, 0]
    log = host(FIRST).file("/var/log/celery-fleet/celery-fleet-before_release.log")
    assert (log.user, log.mode) == ("root", 0o600)
    assert log.content_string == f'migrated by celery-fleet 100% "$HOME" {place}/src\n'
    # The second host knows it too, should the first one go.
    for name in (FIRST, SECOND):
        marks = host(name).check_output(f"ls -A {place}").split()
        once = [mark.rpartition("-")[0] for mark in marks if "_release-" in mark]
        assert sorted(once) == [".after_release", ".before_release"]


def test_a_failure_ends_the_run_and_the_next_one_goes_on_where_it_was(
    host: Hosts, scenario: Scenario
) -> None:
    first = ("First", ["sh", "-c", f"echo one; echo x >>{STATE}/first"], 60)
    broken = ("Second", ["sh", "-c", "echo the database says no; exit 3"], 60)
    rc, printed = ended(deploy(scenario, first, broken))
    assert rc != 0
    assert f"[{FIRST}] one" in printed
    assert f"[{FIRST}] the database says no" in printed
    assert "Second (before_release of demo-" in printed
    assert "ended with exit code 3" in printed
    # Nothing follows on any host.
    assert "after_release" not in printed
    assert host(FIRST).run(f"systemctl is-active {UNIT}").stdout.strip() == "failed"

    rc, printed = ended(deploy(scenario, first, ("Second", ["sh", "-c", "echo waits; exec sleep 600"], 2)))
    assert rc != 0
    assert f"[{FIRST}] waits" in printed
    assert "took more than 2 s, and was ended" in printed
    assert "after_release" not in printed

    # A hook outlives its controller, and the next run follows it.
    command = f"echo begun; until test -e {STATE}/go; do sleep 0.2; done; echo x >>{STATE}/second; echo over"
    second = ("Second", ["sh", "-c", command], 300)
    killed = deploy(scenario, first, second)
    running = f"systemctl is-active {UNIT}; cat /var/log/celery-fleet/celery-fleet-before_release.log"
    until(lambda: host(FIRST).run(running).stdout == "activating\nbegun\n", "the hook runs", 120)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    follows = deploy(scenario, first, second)
    assert any(f"[{FIRST}] begun" in line for line in follows.stdout or ())
    host(FIRST).check_output(f"touch {STATE}/go")
    rc, printed = ended(follows)
    assert rc == 0, printed
    assert f"[{FIRST}] over" in printed
    assert host(FIRST).run(f"systemctl is-active {UNIT}").stdout.strip() == "inactive"
    for name in ("first", "second"):
        assert host(FIRST).file(f"{STATE}/{name}").content_string == "x\n", "it ran once"


def test_a_command_runs_on_one_host_or_all_and_tells_its_exit_code(host: Hosts, scenario: Scenario) -> None:
    code = "import os; print(os.environ['USER'], os.environ['GREETING'])"
    # As it is typed: Ansible would split it at its blanks.
    rc, printed = ended(playbook(scenario, RUN, "-e", f'command=python -c "{code}"'))
    assert rc == 0, printed
    assert f'[{FIRST}] celery-fleet 100% "$HOME"' in printed
    assert f"[{SECOND}]" not in printed
    rc, printed = ended(playbook(scenario, RUN, run_on="all", command=["sh", "-c", "id -un; exit 7"]))
    assert rc != 0
    for name in (FIRST, SECOND):
        assert f"[{name}] celery-fleet" in printed
    assert "ended with exit code 7" in printed
    assert host(FIRST).run("ls /var/log/celery-fleet/celery-fleet-run-*").rc != 0


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_a_command_runs_by_hand_in_a_pipe_or_a_terminal(host: Hosts, name: str) -> None:
    code = "import os, sys; print(os.environ['USER'], sys.stdin.isatty(), sys.stdin.readline().strip())"
    run = f"celery-fleet run --pool io python -c {shlex.quote(code)}"
    assert host(name).check_output(f"echo data | {run}") == "celery-fleet False data"
    typed = host(name).check_output(f"(sleep 3; echo data) | script -qec {shlex.quote(run)} /dev/null")
    assert "celery-fleet True data" in typed
    for command, rc in (
        ("run sh -c 'exit 5'", 5),
        ("run nonesuch", 127),
        ("run --pool cpu true", 127),
        ("", 2),
    ):
        assert host(name).run(f"celery-fleet {command}").rc == rc, command
