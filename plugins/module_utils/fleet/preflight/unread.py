"""Variables of an inventory that the kit does not read: misspelt, renamed, or of nobody."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..findings import LONGEST, PLACES, Findings, show
from ..model.plain import texts
from ..model.spec import RENAMED

# Where the kit says which variables it reads.
READERS: Final = (
    "group_vars/all/*.yml",
    "playbooks/*.yml",
    "playbooks/parts/*.yml",
    "roles/*/*/*.yml",
    "roles/*/*/*.j2",
    "plugins/filter/*.py",
)

COMMENT: Final = re.compile(r"(?:^|\s)#.*")
# As alike as two names with one letter more, less or swapped.
ALIKE: Final = 0.85


def prefixes(kit: Path) -> list[str]:
    """Return what the kit's variables begin with: ``fleet_``, and the names of its roles.

    Args:
        kit: The kit's directory.

    Returns:
        Prefixes with their underscore.
    """
    return ["fleet_", *sorted(f"{role.name}_" for role in (kit / "roles").iterdir() if role.is_dir())]


def read_by(kit: Path) -> set[str]:
    """Return every variable of those prefixes that a file of the kit mentions outside of comments.

    Args:
        kit: The kit's directory.

    Returns:
        Names of variables.
    """
    pattern = re.compile(rf"\b(?:{'|'.join(prefixes(kit))})\w+")
    paths = {path for reader in READERS for path in kit.glob(reader)}
    texts = (COMMENT.sub("", path.read_text(encoding="utf-8")) for path in paths)
    return {name for text in texts for name in pattern.findall(text)}


def unread(variables: Mapping[str, Iterable[str]], kit: Path) -> dict[str, dict[str, list[str]]]:
    """Find variables that look like the kit's own and that no file of it mentions.

    Args:
        variables: For each host the names of its variables.
        kit: The kit's directory.

    Returns:
        For each such variable its ``hosts`` and the names that are ``near``.
    """
    begins, read = tuple(prefixes(kit)), read_by(kit)
    hosts: dict[str, list[str]] = {}
    for host, names in variables.items():
        for name in names:
            if name.startswith(begins) and (name not in read or name in RENAMED):
                hosts.setdefault(name, []).append(host)
    return {
        name: {
            "hosts": holders,
            "near": difflib.get_close_matches(name[:LONGEST], sorted(read), n=1, cutoff=ALIKE),
        }
        for name, holders in sorted(hosts.items())
    }


def check(unread_variables: Mapping[str, object], hosts: int, findings: Findings) -> None:
    """Report variables that nothing reads. Their values may be secrets, and are not shown.

    Args:
        unread_variables: What ``unread`` returned, each with its ``file`` if that is known.
        hosts: How many hosts there are.
        findings: Receives one finding for each variable.
    """
    for name, about in unread_variables.items():
        details = about if isinstance(about, Mapping) else {}
        names, near, file = texts(details.get("hosts")), texts(details.get("near")), details.get("file")
        where = show(file) if file else "every host" if len(names) >= hosts else ", ".join(names[:PLACES])
        if name in RENAMED:
            id, reason, remedy = (
                "renamed-variable",
                f"it is now called {RENAMED[name]}",
                f"write {RENAMED[name]}",
            )
        elif near:
            id, reason, remedy = "misspelt-variable", f"nothing reads it; did you mean '{near[0]}'?", None
        else:
            id, reason, remedy = "unknown-variable", None, None
        findings.add(f"inventory/{id}", name, "(not shown)", reason, remedy, where=where or None)
