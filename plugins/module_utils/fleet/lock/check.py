"""What keeps a lock from being installed on hosts as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..findings import Findings
from .export import FORMATS
from .requirement import Requirement, kinds, normalized, some
from .requirements_file import Read
from .types import VARIABLE, Lock, Wanted

# The index that tools ask if nobody names one.
_DEFAULT_INDEX: Final = "pypi.org"


def check(read: Read, wanted: Wanted, findings: Findings) -> Lock:
    """Find what is wrong with a lock.

    Args:
        read: What the lock says.
        wanted: What the site says of it.
        findings: Receives what is wrong.

    Returns:
        The lock.
    """

    def tell(id: str, found: Iterable[Requirement], reason: str, remedy: str | None = None) -> None:
        names = [requirement.label for requirement in found]
        if names:
            findings.add(id, VARIABLE, some(names), reason, remedy, where=wanted.requirements)

    requirements = read.requirements
    if read.secrets:
        findings.add("lock/credentials", VARIABLE, some(read.secrets), where=wanted.requirements)
    if not requirements:
        findings.add("lock/empty", VARIABLE, wanted.requirements)
    elif not any(requirement.name == "celery" for requirement in requirements):
        findings.add("lock/no-celery", VARIABLE, wanted.requirements)
    pinned = [r for r in requirements if r.version]
    name = Path(wanted.requirements).name
    command = f"uv pip compile --generate-hashes{wanted.python_option} {name} -o requirements.lock"
    make = f"`{FORMATS[name].update}`" if name in FORMATS else f"`{command}`, and name requirements.lock here"
    tell(
        "lock/unpinned",
        (r for r in requirements if not (r.version or r.url or r.repository or r.path)),
        "no version is pinned with ==",
        f"run {make}",
    )
    if wanted.hashes:
        bare = [r for r in requirements if not r.hashes and (r.version or r.url)]
        tell(
            "lock/no-hashes",
            bare,
            f"{len(bare)} of {len(requirements)} requirements have no hash",
            f"run {make}; or set fleet_app.hashes: false and trust the indexes",
        )
    _check_conflicts(pinned, wanted, findings)
    repositories = [r for r in requirements if r.repository]
    tell(
        "lock/moving-revision",
        (r for r in repositories if r.repository and not r.repository.is_fixed),
        "a branch or a tag may mean something else tomorrow",
        "name the full commit behind the @",
    )
    tell(
        "lock/path",
        (r for r in requirements if r.path.startswith("/")),
        "it lies outside of the source, or not at all, so no host gets it",
        "put it into the source, publish it to an index (fleet_app.indexes), or require it from a repository",
    )
    allowed = {normalized(name) for name in wanted.sdists}
    built = [r for r in requirements if r.must_be_built(wanted.version)]
    on = f"Python {wanted.version} on Linux" if wanted.version else "CPython on Linux"
    tell(
        "lock/sdist",
        (r for r in built if r.name not in allowed),
        f"there is no wheel of it for {on}, so its own code would run to build one",
        f"name it: fleet_app.sdists: [{', '.join(sorted({r.name for r in built}))}]",
    )
    unknown = sorted(allowed - {requirement.name for requirement in requirements})
    if unknown:
        findings.add("lock/unused-sdist", "fleet_app.sdists", ", ".join(unknown))
    _check_indexes(read.indexes, wanted, findings)
    installed = tuple(requirement for requirement in requirements if not requirement.path)
    local = tuple(requirement.path for requirement in requirements if requirement.path)
    return Lock(installed, read.requires_python, frozenset(allowed), local)


def _check_conflicts(pinned: Sequence[Requirement], wanted: Wanted, findings: Findings) -> None:
    """Find packages that one host would have to install in two versions."""
    versions: dict[str, list[Requirement]] = defaultdict(list)
    for requirement in pinned:
        versions[requirement.name].append(requirement)
    for name, given in versions.items():
        if len({r.version for r in given}) < 2:
            continue
        for kind in kinds():
            both = {r.version: r.where for r in given if r.applies(*kind)}
            if len(both) > 1:
                listed = " and ".join(f"{version} ({where})" for version, where in both.items())
                reason = f"hosts with Python {kind[0]} would need {listed}"
                findings.add("lock/conflict", VARIABLE, name, reason, where=wanted.requirements)
                break


def _check_indexes(indexes: Iterable[str], wanted: Wanted, findings: Findings) -> None:
    """Find indexes of the lock that the hosts do not ask."""
    known = {_DEFAULT_INDEX, *(urlsplit(url).hostname for url in wanted.indexes)}
    for url in indexes:
        if urlsplit(url).hostname not in known:
            remedy = f"add it: fleet_app.indexes: [{{url: {url}}}]"
            findings.add("lock/index", VARIABLE, url, None, remedy, where=wanted.requirements)
