"""Whether every host has a Python on which the application runs, before anything is built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..findings import Findings
from ..model.host import Host

VARIABLE: Final = "fleet_app.python"
# What the package beside every application needs.
LEAST: Final = ">=3.11"


def fits(version: str, requires: str) -> bool:
    """Return whether an application runs on a version of Python.

    Args:
        version: A version, or the first two parts of one.
        requires: Specifier of the application and its lock; empty if they say none.
    """
    try:
        wanted = SpecifierSet(f"{LEAST},{requires}".rstrip(","))
    except InvalidSpecifier:
        wanted = SpecifierSet(LEAST)
    patches = [version] if version.count(".") > 1 else [f"{version}.{patch}" for patch in (0, 99)]
    return any(wanted.contains(patch, prereleases=True) for patch in patches)


def check(python: Mapping[str, Any], requires: str, hosts: Iterable[Host], findings: Findings) -> None:
    """Find hosts without a fit interpreter, and an archive of one that is not what the site says.

    Args:
        python: ``fleet_app.python``, as a mapping.
        requires: Specifier of the application and its lock; empty if they say none.
        hosts: The hosts that are to run the application.
        findings: Receives what does not fit.
    """
    version = python.get("version", "")
    if "archive" in python or "sha256" in python:
        _check_archive(python, findings)
        if re.fullmatch(r"\d+\.\d+(\.\d+)?", version) and not fits(version, requires):
            findings.add("python/unfit", VARIABLE, version, _needs(requires))
        return
    for host in hosts:
        known = host.python if isinstance(host.python, dict) else {}
        if known.get("wanted") != version:
            continue
        if known.get("fault"):
            findings.add("python/absent", VARIABLE, version, str(known["fault"]), where=host.name)
        elif not fits(str(known.get("version")), requires):
            found = f"{known.get('path')} is {known.get('version')}"
            findings.add("python/unfit", VARIABLE, version, f"{found}; {_needs(requires)}", where=host.name)


def _needs(requires: str) -> str:
    return f"the application needs Python {requires or LEAST}"


def _check_archive(python: Mapping[str, Any], findings: Findings) -> None:
    archive, wanted = python.get("archive"), python.get("sha256")
    if not archive or not wanted:
        reason = "an archive and its sha256 belong together"
        findings.add("python/archive", VARIABLE, archive or wanted, reason)
        return
    try:
        found = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    except OSError as error:
        findings.add("python/archive", f"{VARIABLE}.archive", archive, f"it cannot be read: {error.strerror}")
        return
    if found != wanted:
        findings.add("python/archive", f"{VARIABLE}.sha256", wanted, f"the checksum of {archive} is {found}")
