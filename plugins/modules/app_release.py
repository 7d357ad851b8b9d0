#!/usr/bin/python
"""Build a release of the application on a host."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.application import (
    all_secrets,
    masked,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.disk import mark
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.environment import (
    BuildError,
    Environments,
    compiled,
    copied,
    key_of,
    packages_of,
    run,
    uv_in,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.indexes import (
    INDEXES,
    index_environment,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.machine import Machine
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import COMMANDS_HOME
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.prune import building
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.pythons import (
    Interpreter,
    PythonError,
    find,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.sandbox import (
    BUILDERS,
    MANIFEST,
    SOURCES,
    NotBuiltError,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.sandbox import build as build_wheels

DOCUMENTATION = r"""
module: app_release
short_description: Build a release of the application on a host
description:
  - Unpacks the archive, makes the virtual environment, and imports the application as the user that will run
    it. Only then the release is marked complete.
  - The environment of a lock is made once on a host, by uv; that of a release is a copy by hard links, with
    the application's own package in it.
  - A release whose application asks for what the fleet does not have is refused, with all of it.
  - A release that is complete is left alone; one that is not is built anew.
options:
  root:
    description: Directory of the application, such as C(/opt/demo).
    type: path
    required: true
  release:
    description: Name of the release.
    type: str
    required: true
  archive:
    description: Archive of the release on the host, removed after use; needed unless the release is complete.
    type: path
  wheels:
    description: Archive of the lock's wheels on the host, removed after use; without it an index is asked.
    type: path
  uv:
    description: Archive of a wheel of uv on the host; needed unless the release is complete.
    type: path
  python:
    description: Interpreter of the virtual environment, a command, a path or a version.
    type: str
    default: python3
  celery_app:
    description: What C(celery --app) is given.
    type: str
    required: true
  user:
    description: User that imports the application.
    type: str
    required: true
  environment:
    description: Environment of the import.
    type: dict
    default: {}
  secrets:
    description: Directory with the secrets of the application's processes, all of which the import gets.
    type: path
  working_directory:
    description: Where the import starts, which does not import from there.
    type: path
    default: /
  hashes:
    description: Whether every requirement must have hashes.
    type: bool
    default: true
  limits_above_pool:
    description: Whether tasks with time limits above those of their pool are refused, or only warned of.
    type: str
    default: refuse
    choices: [refuse, clamp]
  recheck:
    description: Whether a release that is complete is imported again, because the fleet has changed.
    type: bool
    default: false
  timeout:
    description: Seconds that the import may take.
    type: int
    default: 60
extends_documentation_fragment: [celery_fleet.kit.indexes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Build the release
  celery_fleet.kit.app_release:
    root: /opt/demo
    release: demo-0123456789ab
    archive: /opt/demo/incoming/demo-0123456789ab.tar.gz
    celery_app: demo.app:app
    user: celery-fleet
"""

RETURN = r"""
report:
  description: What the import found, as JSON; C(tasks), their names, and C(periodic), what is to be sent.
  type: str
  returned: when built
seconds:
  description: How long the build took.
  type: float
  returned: when built
reused:
  description: Whether the environment of the lock was there.
  type: bool
  returned: when built
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "root": {"type": "path", "required": True},
    "release": {"type": "str", "required": True},
    "archive": {"type": "path"},
    "wheels": {"type": "path"},
    "uv": {"type": "path"},
    "python": {"type": "str", "default": "python3"},
    "celery_app": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "environment": {"type": "dict", "default": {}},
    "secrets": {"type": "path", "no_log": False},
    "working_directory": {"type": "path", "default": "/"},
    "hashes": {"type": "bool", "default": True},
    "indexes": INDEXES,
    "limits_above_pool": {"type": "str", "default": "refuse", "choices": ["refuse", "clamp"]},
    "recheck": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 60},
}

LOCK = "requirements.lock"
# What the import ends with if the application has faults; one that raises ends with 1.
FAULTS = 3


def import_app(place: Path, params: dict[str, Any]) -> str:
    """Import the application of a release as its user, and return its report.

    Raises:
        BuildError: The import failed or took too long, with the end of the traceback; or the application asks
            for what the fleet does not have, or has periodic tasks that cannot run.
    """
    user = pwd.getpwnam(params["user"])
    environment = {
        "PATH": os.defpath,
        "HOME": str(COMMANDS_HOME),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.update({key: str(value) for key, value in params["environment"].items()})
    python = str(place / "venv" / "bin" / "python")
    command = [python, "-P", "-m", "celery_fleet", "check", "--json", params["celery_app"]]
    directory = Path(params["secrets"]) if params.get("secrets") else None
    working = Path(params.get("working_directory") or "/")
    if not working.is_dir():
        raise BuildError(f"the working directory {working} is not on this host")
    try:
        with all_secrets(directory, user.pw_uid, user.pw_gid) as secrets:
            process = subprocess.run(  # noqa: S603 - an argument list, no shell
                command + (["--clamp"] if params["limits_above_pool"] == "clamp" else []),
                check=False,
                capture_output=True,
                text=True,
                env=environment | secrets,
                cwd=working,
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[entry.gr_gid for entry in grp.getgrall() if user.pw_name in entry.gr_mem],
                timeout=params["timeout"],
            )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"the import of {params['celery_app']} took more than {params['timeout']} s"
        ) from error
    if process.returncode not in (0, FAULTS):
        end = "\n".join(masked(process.stderr, secrets.values()).strip().splitlines()[-20:])
        raise BuildError(f"{params['celery_app']} can't be imported as {params['user']}:\n{end}")
    return read_report(process.stdout)


def read_report(printed: str) -> str:
    """Return the report of an import, which is the last line that it printed.

    Raises:
        BuildError: The application asks for what the fleet does not have, or for what cannot run.
    """
    report = printed.strip().splitlines()[-1]
    content = json.loads(report)
    if content["faults"]:
        raise BuildError("the application does not fit the fleet:\n" + "\n".join(content["faults"]))
    if faults := content["periodic"]["faults"]:
        raise BuildError("periodic tasks of the application cannot run:\n" + "\n".join(faults))
    return report


def build(
    place: Path, params: dict[str, Any], python: Interpreter, environments: Environments
) -> tuple[bool, str]:
    """Build the release in its directory.

    Returns:
        Whether its lock's environment was there; and if not, what packages in it miss.

    Raises:
        BuildError: A step failed.
    """
    run("Unpacking", "tar", "-xzf", params["archive"], "-C", str(place), "--no-same-owner")
    lock = place / LOCK
    complaints: list[str] = []

    def install(environment: Path) -> None:
        offline: list[str] = []
        if params["wheels"]:
            wheels = place / "wheels"
            wheels.mkdir()
            run("Unpacking the wheels", "tar", "-xf", params["wheels"], "-C", str(wheels), "--no-same-owner")
            offline = ["--no-index", f"--find-links={wheels}"]
        built = place / "built"
        try:
            lines = build_wheels(place, environments.uv, python.path, built)
        except NotBuiltError as error:
            raise BuildError(str(error)) from error
        whole = place / "installed.lock"
        whole.write_text(lock.read_text() + "".join(f"{line}\n" for line in lines))
        # Nothing but wheels, and nothing but what the lock says: no package's own code runs.
        options = ["--no-deps", "--only-binary=:all:", *(["--require-hashes"] if params["hashes"] else [])]
        environments.install(
            environment,
            *options,
            *offline,
            f"--requirements={whole}",
            environment=index_environment(params["indexes"]),
        )
        complaints.append(environments.complaints(environment))
        shutil.rmtree(built, ignore_errors=True)
        shutil.rmtree(place / "wheels", ignore_errors=True)

    environment, made = environments.make(params["environment_key"], python, install)
    venv = place / "venv"
    copied(environment, venv)
    own = sorted((place / "package").glob("*.whl"))
    added = [*own, *sorted((place / "local").glob("*.whl"))]
    if added:
        environments.add(venv, python, added)
    for unneeded in (SOURCES, BUILDERS):
        shutil.rmtree(place / unneeded, ignore_errors=True)
    # A project in `src/` of its source that is not installed, and the root, where manage.py and the like lie.
    parts = [
        place / name
        for name in ("files", "src", *([] if own else ["src/src"]), "kit")
        if (place / name).is_dir()
    ]
    (packages_of(venv) / "celery_fleet_release.pth").write_text("".join(f"{part}\n" for part in parts))
    # The user that runs the application may not write here, so nothing would keep the compiled files.
    compiled(python, *parts, *tops(packages_of(venv), added))
    return not made, "".join(complaints)


def lock_of(archive: Path) -> bytes:
    """Return what the archive of a release says of its environment: its lock, and what is built for it.

    Raises:
        BuildError: It has no lock.
    """
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        if LOCK not in names:
            raise BuildError(f"{archive} holds no {LOCK}")
        found = (tar.extractfile(name) for name in (LOCK, MANIFEST) if name in names)
        return b"\0".join(content.read() for content in found if content)


def tops(packages: Path, wheels: list[Path]) -> set[Path]:
    """Return what wheels have put into the directory of the packages."""
    names: set[str] = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names |= {name.split("/")[0] for name in archive.namelist()}
    return {
        packages / name for name in names if (packages / name).exists() and not name.endswith(".dist-info")
    }


def remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def warn(module: AnsibleModule, report: str) -> None:
    for warning in json.loads(report).get("warnings", ()):
        module.warn(f"{module.params['celery_app']}: {warning}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params = module.params
    root = Path(params["root"])
    place = root / "releases" / params["release"]
    complete = place / ".complete"
    if complete.exists():
        try:
            report = import_app(place, params) if params["recheck"] and not module.check_mode else "{}"
        except BuildError as error:
            module.fail_json(msg=f"Release {params['release']}: {error}")
        warn(module, report)
        module.exit_json(changed=False)
    if not (params["archive"] and params["uv"]):
        module.fail_json(msg=f"Release {params['release']} is not complete, and there is no archive of it.")
    state = "partly built" if place.exists() else "absent"
    diff = {"before": f"{place}: {state}\n", "after": f"{place}: complete\n"}
    if module.check_mode:
        module.exit_json(changed=True, diff=diff)

    used = [Path(path) for path in (params["archive"], params["wheels"]) if path]
    os.umask(0o022)
    begun = time.monotonic()
    try:
        python = find(params["python"])
        environments = Environments(root, uv_in(Path(params["uv"]), root))
        key = key_of(lock_of(Path(params["archive"])), python)
        with building(Machine(), place, key):
            reused, missed = build(place, params | {"environment_key": key}, python, environments)
            report = import_app(place, params)
            # Nothing is left to do when it is complete, since then no run comes back here.
            remove(used)
            mark(complete, report)
    except (BuildError, PythonError, OSError) as error:
        module.fail_json(msg=f"Release {params['release']}: {error}")
    finally:
        remove(used)
    warn(module, report)
    if missed:
        module.warn(f"The lock of release {params['release']} does not fit together: {missed}")
    module.exit_json(
        changed=True, diff=diff, report=report, reused=reused, seconds=round(time.monotonic() - begun, 1)
    )


if __name__ == "__main__":
    main()
