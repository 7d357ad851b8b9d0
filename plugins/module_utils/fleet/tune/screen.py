"""What tasks used against the model, for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ..plan.ranges import host_ranges
from ..text import columns, count, some, span
from .figures import TOLERANCE

_HEAD: Final = ("pool", "where", "figure", "model", "measured", "tasks", "span", "proposal", "note")
_KEY: Final = (
    "measured: cores of a running task, MiB of the largest process, seconds in which 99 of 100 tasks end,",
    "seconds that a task waits in its worker, tasks for each process that was replaced",
)


def text(document: Mapping[str, Any]) -> str:
    """Write what tasks used for a person.

    Args:
        document: What ``tune`` returned.
    """
    least = document["least"]
    states = Counter(document["hosts"].values())
    lines = [
        ", ".join(f"{number} host(s) {state}" for state, number in states.items())
        + f"; proposed from {least['tasks']:.0f} tasks in {span(least['span_s'])} on,"
        f" where figures differ by more than {TOLERANCE:.0%}",
        "",
        *columns([_HEAD, *map(_cells, document["figures"])]),
        "",
        *_KEY,
    ]
    for title, notes in (
        ("Tasks that do not fit their pool:", _misfits(document["misfits"])),
        ("Shares of hosts that several pools have:", _shares(document["shares"])),
        ("What the plan would become:", _changes(document["plan"])),
    ):
        if notes:
            lines += ["", title, *(f"  {note}" for note in notes)]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    soft, *more = row["proposal"].values() or (None,)
    proposal = "-" if soft is None else _number(soft) + "".join(f" (hard {_number(hard)})" for hard in more)
    notes = [row["note"]]
    if row["refused"]:
        notes.append(f"refused: {row['refused']}")
    elif row["proposal"] and not row["by_layer"]:
        notes.append(f"change it in {some(sorted({*row['set_by'].values()}))}")
    return (
        row["pool"],
        row["host"] or f"{row['hosts']} host(s)",
        row["figure"],
        _number(row["model"]),
        _number(row["measured"]),
        str(row["tasks"]),
        span(row["span_s"]),
        proposal,
        "; ".join(filter(None, notes)),
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _misfits(misfits: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{each['task']} in {each['pool']} ({count(each['tasks'], 'task')}): {each['why']}"
        for each in misfits
    ]


def _shares(shares: Iterable[Mapping[str, Any]]) -> list[str]:
    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0%}"

    return [
        f"{some(host_ranges(each['hosts']))}: {each['pool']} has {share(each['share'])},"
        f" {share(each['cpu'])} of the pools' processor time; {share(each['busy'])} of its slots were busy"
        for each in shares
    ]


def _changes(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    notes: dict[str, list[str]] = {}
    for each in changes:
        note = f"{each['pool']}: {each['field']} {each['now']} → {each['then']}"
        notes.setdefault(note, []).append(each["host"])
    return [f"{some(host_ranges(hosts))}: {note}" for note, hosts in notes.items()]
