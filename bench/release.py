"""How long a release takes on one host: of a new lock, and of the same lock again.

    KEEP=1 scripts/test app                     # hosts, which stay
    scripts/run bench.release [--lock FILE] [--repeat 3]

Releases the demo on a host of the scenario `app`, with its own lock or another one with Celery in it: on a
host without any environment, then `--repeat` times with a line of the source changed. It measures the whole
playbook and the step that builds on the host.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.text import columns
from support.scenario import MOLECULE, ROOT, Scenario

HOST = "molecule-app-13"
DEMO = ROOT / "examples" / "demo"
PACKAGES = "find /opt/demo/current/venv/lib/*/site-packages -maxdepth 1 -name '*.dist-info' | wc -l"


@dataclass(frozen=True)
class Measure:
    """One release.

    Attributes:
        playbook: Seconds of the playbook.
        build: Seconds of the step that builds on the host.
        reused: Whether the environment of the lock was there.
    """

    playbook: float
    build: float
    reused: bool


def release(scenario: Scenario, source: Path) -> Measure:
    """Release a source on the host.

    Raises:
        RuntimeError: The playbook failed.
    """
    given = {"app_source": {"type": "directory", "path": str(source)}}
    command = ["ansible-playbook", "-v", f"--inventory={scenario.inventory}", f"--limit={HOST},localhost"]
    begun = time.monotonic()
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        [*command, f"--extra-vars={json.dumps(given)}", str(MOLECULE / "app" / "converge.yml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "default"},
    )
    seconds = time.monotonic() - begun
    reused = re.search(r"^    reused: (true|false)$", done.stdout, re.MULTILINE)
    build = re.search(r"^    seconds: ([\d.]+)$", done.stdout, re.MULTILINE)
    if done.returncode or not (reused and build):
        raise RuntimeError(done.stdout + done.stderr)
    return Measure(seconds, float(build[1]), reused[1] == "true")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="scripts/run bench.release", description=__doc__)
    parser.add_argument("--lock", type=Path, default=DEMO / "requirements.lock", help="lock to install")
    parser.add_argument("--repeat", type=int, default=3, help="releases of the same lock")
    options = parser.parse_args(arguments)

    scenario = Scenario("app")
    host = scenario.connect(HOST)
    host.check_output("rm -rf /opt/demo/current /opt/demo/environments /opt/demo/releases")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "source"
        shutil.copytree(DEMO, source, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(options.lock, source / "requirements.lock")
        measures: list[Measure] = []
        for _ in range(options.repeat + 1):
            with (source / "demo" / "app.py").open("a") as module:
                module.write(f"# {time.time_ns()}\n")
            measures.append(release(scenario, source))
    again = measures[1:]
    rows = [("release", "playbook s", "on the host s")]
    rows.append(("of a new lock", f"{measures[0].playbook:.1f}", f"{measures[0].build:.1f}"))
    rows.append(
        (
            "of the same lock",
            f"{statistics.median(each.playbook for each in again):.1f}",
            f"{statistics.median(each.build for each in again):.1f}",
        )
    )
    print(f"{host.check_output(PACKAGES).strip()} packages")
    print("\n".join(columns(rows)))
    return 0 if all(each.reused for each in again) and not measures[0].reused else 1


if __name__ == "__main__":
    sys.exit(main())
