"""Packages of the distribution that a host has, or could have."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

# What apt says of a version that there is not.
NONE: Final = "(none)"


def missing(packages: Sequence[str]) -> list[str]:
    """Return the packages that are not installed, without apt, which would take as long as all the rest.

    Args:
        packages: Names, each perhaps with ``=`` and a version, in which ``*`` stands for anything.

    Returns:
        Those that dpkg does not have, or in another version. A virtual package always counts as missing.
    """
    if not packages:
        return []
    names = [package.partition("=")[0] for package in packages]
    query = subprocess.run(  # noqa: S603 - no shell
        ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", *names],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    )
    lines = [line.split() for line in query.stdout.splitlines()]
    versions = {line[0]: line[1] for line in lines if len(line) > 2 and line[2] == "installed"}
    return [
        package
        for package, name in zip(packages, names, strict=True)
        if not fnmatch.fnmatchcase(versions.get(name, ""), package.partition("=")[2] or "?*")
    ]


def policy(packages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what apt has and would install, by lists that may be old.

    Args:
        packages: Names.

    Returns:
        For each that apt knows its ``installed`` and its ``candidate`` version, empty if there is none;
        nothing if this is no host with apt.
    """
    if not packages or shutil.which("apt-cache") is None:
        return {}
    query = subprocess.run(  # noqa: S603 - no shell
        ["apt-cache", "policy", *packages],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = re.findall(r"^(\S+?):\n  Installed: (.*)\n  Candidate: (.*)", query.stdout, re.MULTILINE)
    return {
        name: {
            "installed": "" if installed == NONE else installed,
            "candidate": "" if candidate == NONE else candidate,
        }
        for name, installed, candidate in found
    }


def unknown(packages: Sequence[str]) -> list[str]:
    """Return the packages that apt's lists do not have, which may be old.

    Args:
        packages: Names, each perhaps with ``=`` and a version.

    Returns:
        Those that no list offers; none if this is no host with apt.
    """
    if not packages or shutil.which("apt-cache") is None:
        return []
    names = [package.partition("=")[0] for package in packages]
    known = policy(names)
    return [
        package
        for package, name in zip(packages, names, strict=True)
        if not known.get(name, {}).get("candidate")
    ]
