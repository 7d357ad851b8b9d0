"""Findings: collected all at once, accepted where a site says why, and written for a person."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .catalogue import ACCEPTED, CATALOGUE, ERROR, WARNING

FILES: Final = {
    "fleet_pool_defaults": "group_vars/all/pools.yml",
    "fleet_pools": "group_vars/all/pools.yml",
    "fleet_tuned_pools": "the environment's group_vars/all/fleet_tuned.yml",
    "fleet_environment_pools": "the environment's group_vars",
    "fleet_accepted_findings": "the environment's group_vars",
    "fleet_profiles": "group_vars/all/profiles.yml",
    "fleet_reserve": "group_vars/all/profiles.yml",
    "fleet_routing": "group_vars/all/routing.yml",
    "fleet_environment_routing": "the environment's group_vars",
    "fleet_schedule": "group_vars/all/schedule.yml",
    "fleet_broker": "group_vars/all/broker.yml",
    "fleet_results": "group_vars/all/results.yml",
    "fleet_monitoring": "group_vars/all/monitoring.yml",
    "fleet_flower": "group_vars/all/flower.yml",
    "fleet_app": "group_vars/all/app.yml",
    "fleet_client_users": "the environment's group_vars",
    "fleet_name": "group_vars/all/fleet.yml",
    "fleet_model": "group_vars/all/derived.yml",
}
INVENTORY: Final = "the inventory"
LONGEST: Final = 120
SENTENCE: Final = 600
PLACES: Final = 5


@dataclass(frozen=True, order=True)
class Finding:
    """One fault of a model or an inventory.

    Attributes:
        id: Stable name, such as ``queue/two-owners``; see the catalogue.
        severity: ``error`` refuses the fleet, ``warning`` is only reported, ``accepted`` was either.
        variable: Dotted path of the variable at fault, such as ``fleet_pools.cpu.queues``.
        value: Its value, as text.
        where: The file or host where it is written.
        reason: What is wrong with it.
        remedy: What to do about it.
        accepted: Why the site accepts it; empty if it does not.
    """

    id: str
    severity: str
    variable: str
    value: str
    where: str
    reason: str
    remedy: str
    accepted: str = ""


class Findings:
    """Collects findings in the order in which they are met, each once.

    Args:
        accepted: Reasons by what a site accepts: an identifier, or one with ``@`` and a host or a
            variable behind it.
    """

    def __init__(self, accepted: Mapping[str, str] | None = None) -> None:
        self._findings: dict[Finding, None] = {}
        self._accepted = dict(accepted or {})
        self._used: set[str] = set()

    def accept(self, accepted: Mapping[str, str]) -> None:
        """Accept what is found from now on.

        Args:
            accepted: Reasons by what is accepted.
        """
        self._accepted.update(accepted)

    def fresh(self) -> Findings:
        """Return an empty collection in which the same is accepted."""
        return Findings(self._accepted)

    def extend(self, other: Findings) -> None:
        """Add what another collection holds.

        Args:
            other: A collection.
        """
        self._findings.update(other._findings)
        self._used |= other._used

    def add(
        self,
        id: str,
        variable: str,
        value: object,
        reason: str | None = None,
        remedy: str | None = None,
        *,
        where: str | None = None,
        severity: str | None = None,
    ) -> None:
        """Record one finding.

        Args:
            id: Stable name of the kind of fault.
            variable: Dotted path of the variable at fault.
            value: Its value.
            reason: What is wrong with it; by default why this kind hurts.
            remedy: What to do about it; by default what helps against this kind.
            where: The file or host; by default the file in which this variable is usually written.
            severity: ``error`` or ``warning``; by default that of the kind.
        """
        kind = CATALOGUE[id]
        place = where or FILES.get(variable.split(".")[0], INVENTORY)
        by = None if kind.structural else self._acceptance(id, variable, place)
        finding = Finding(
            id,
            ACCEPTED if by else severity or kind.severity,
            show(variable),
            show(value),
            line(place),
            line(reason or kind.why, SENTENCE),
            line(remedy or kind.remedy, SENTENCE),
            self._accepted[by] if by else "",
        )
        self._findings[finding] = None

    def _acceptance(self, id: str, variable: str, where: str) -> str | None:
        for key in (f"{id}@{variable}", f"{id}@{where}", id):
            if key in self._accepted:
                self._used.add(key)
                return key
        return None

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    @property
    def errors(self) -> list[Finding]:
        """The findings that refuse the fleet."""
        return [finding for finding in self._findings if finding.severity == ERROR]

    @property
    def unused(self) -> list[str]:
        """Acceptances that matched no finding."""
        return [key for key in self._accepted if key not in self._used]

    def refuse(self) -> None:
        """Raise everything at once if there is an error in it.

        Raises:
            ModelError: With all findings.
        """
        if self.errors:
            raise ModelError(list(self._findings))


class ModelError(ValueError):
    """A model from which nothing can be derived; its text is the full report."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        super().__init__(report(self.findings))


def report(findings: Iterable[Finding]) -> str:
    """Write findings as text for a person: errors first, each kind once, and a summary at the end.

    Args:
        findings: What was found.

    Returns:
        A paragraph for each kind of finding with all its places, and one line that counts them.
    """
    collected = list(findings)
    lines = []
    for severity in (ERROR, WARNING, ACCEPTED):
        of_severity = [finding for finding in collected if finding.severity == severity]
        for id in dict.fromkeys(finding.id for finding in of_severity):
            lines += _paragraph(id, severity, [finding for finding in of_severity if finding.id == id])
    return "\n".join([*lines, summary(collected)])


def summary(findings: Iterable[Finding]) -> str:
    """Count findings in one line.

    Args:
        findings: What was found.

    Returns:
        How many of each severity, and whether they refuse the fleet.
    """
    severities = [finding.severity for finding in findings]
    counts = [(severities.count(severity), severity) for severity in (ERROR, WARNING, ACCEPTED)]
    parts = [
        f"{count} {name}{'s' if count > 1 and name != ACCEPTED else ''}" for count, name in counts if count
    ]
    return (", ".join(parts) or "No finding") + (": refused." if ERROR in severities else ".")


def _paragraph(id: str, severity: str, findings: Sequence[Finding]) -> list[str]:
    kind = CATALOGUE[id]
    lines = [f"[{severity}] {id}: {kind.title}", f"  why:    {kind.why}"]
    if any(f.remedy == kind.remedy for f in findings):
        lines.append(f"  remedy: {kind.remedy}")
    places: dict[tuple[str, ...], list[str]] = {}
    for f in findings:
        places.setdefault((f.variable, f.value, f.reason, f.remedy, f.accepted), []).append(f.where)
    for (variable, value, reason, remedy, accepted), wheres in places.items():
        more = f" and {len(wheres) - PLACES} more" if len(wheres) > PLACES else ""
        lines += [f"  {variable} = {value}", f"    where:  {', '.join(wheres[:PLACES])}{more}"]
        lines += [f"    reason: {reason}"] * (reason != kind.why)
        lines += [f"    remedy: {remedy}"] * (remedy != kind.remedy)
        lines += [f"    accepted, because: {accepted}"] * bool(accepted)
    return [*lines, ""]


class _Brief(reprlib.Repr):
    """A representation whose length and depth are bounded, whatever the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 8
        self.maxstring = self.maxlong = self.maxother = LONGEST

    def repr_int(self, x: int, level: int) -> str:
        """Return a number, or its size if it has more digits than Python writes."""
        return repr(x) if abs(x) < 10**40 else f"a whole number of {x.bit_length()} bits"


_brief: Final = _Brief()


def show(value: object) -> str:
    """Return a value as short text for a message."""
    return line(value) if isinstance(value, str) and value else _shorten(_brief.repr(value))


def line(text: str, most: int = LONGEST) -> str:
    """Return text as one line of at most so many characters, without control characters."""
    return _shorten(text if text.isprintable() else repr(text), most)


def _shorten(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'io'?``, or nothing if no known name is near."""
    near = difflib.get_close_matches(str(name)[:LONGEST], [*known], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
