"""What became of every task of a load, from the ledgers that its publishers and its tasks wrote.

`scripts/run trials.proof [DIRECTORY] [PICTURE]` reads a run that the scenario `cluster` kept (.cache/proof),
prints the table and draws docs/measured/proof.svg.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from fleet.text import columns

from trials.ledger import Again, Event, Key, Run, extent, longest_gap, lost, read, repeated


@dataclass(frozen=True)
class Row:
    """What happened during one fault, or in the whole run."""

    name: str
    seconds: float
    ran: int
    duplicates: Mapping[str, int]
    gap: float
    pool_gap: float
    pool: str
    publisher_gap: float
    errors: int


@dataclass(frozen=True)
class Verdict:
    """What came of a run.

    Attributes:
        sent: How many tasks were confirmed.
        ran: How many of them ran.
        lost: Those that did not.
        unknown: Those that ran and that no publisher has: a ledger is missing.
        duplicates: Executions beyond the first of each task, by cause.
        refused: How often a publisher was refused because the queue was full.
        rows: The whole run, then each fault.
    """

    sent: int
    ran: int
    lost: Sequence[Key]
    unknown: Sequence[Key]
    duplicates: Mapping[str, int]
    refused: int
    rows: Sequence[Row]


FULL: Final = "QueueFullError"


def judge(run: Run) -> Verdict:
    """Compare what was confirmed with what ran.

    Args:
        run: The run.

    Returns:
        The verdict.
    """
    sent = {each.key: each for each in run.sent}
    executed = {each.key for each in run.ran}
    again = repeated(run)
    whole = Event("whole run", *extent(run))
    return Verdict(
        sent=len(sent),
        ran=len(sent.keys() & executed),
        lost=lost(run),
        unknown=sorted(executed - sent.keys()),
        duplicates=Counter(cause for _, _, cause in again),
        refused=sum(each.errors.get(FULL, 0) for each in run.sent),
        rows=[_row(event, run, again) for event in (whole, *run.events)],
    )


def _row(event: Event, run: Run, again: Sequence[Again]) -> Row:
    ran = [each for each in run.ran if event.holds(each.at)]
    by_pool: dict[str, list[float]] = defaultdict(list)
    for each in ran:
        by_pool[each.key.kind].append(each.at)
    pool, pool_gap = max(
        ((kind, longest_gap(times, event.begin)) for kind, times in by_pool.items()),
        key=lambda gap: gap[1],
        default=("", 0.0),
    )
    sent = [each for each in run.sent if event.holds(each.at) or event.begin <= each.begun <= event.end]
    return Row(
        name=event.name,
        seconds=event.end - event.begin,
        ran=len(ran),
        duplicates=Counter(cause for each, _, cause in again if event.holds(each.at)),
        gap=longest_gap([each.at for each in ran], event.begin),
        pool_gap=pool_gap,
        pool=pool,
        publisher_gap=max((each.at - each.begun for each in sent), default=0.0),
        errors=sum(sum(each.errors.values()) for each in sent),
    )


def table(verdict: Verdict) -> str:
    """Write a verdict for a person.

    Args:
        verdict: What came of a run.

    Returns:
        A few sentences and a table.
    """
    heads = (
        "",
        "lasted",
        "tasks ran",
        "ran twice",
        "longest gap",
        "of one kind",
        "publisher waited",
        "errors",
    )
    rows = [heads]
    rows += [
        (
            row.name,
            f"{row.seconds:.0f} s",
            str(row.ran),
            str(sum(row.duplicates.values())),
            f"{row.gap:.1f} s",
            f"{row.pool_gap:.1f} s ({row.pool})",
            f"{row.publisher_gap:.1f} s",
            str(row.errors),
        )
        for row in verdict.rows
    ]
    lines = columns(rows)
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(verdict.duplicates.items()))
    lines += [
        "",
        f"confirmed {verdict.sent}, of these ran {verdict.ran}, LOST {len(verdict.lost)}",
        f"executions beyond the first: {sum(verdict.duplicates.values())} ({causes or 'none'})",
        f"publishers were refused by a full queue {verdict.refused} times, and tried again",
    ]
    return "\n".join(lines)


# The picture -------------------------------------------------------------------------------------

WIDTH: Final = 960
HEIGHT: Final = 352
LEFT: Final = 56
RIGHT: Final = 20
TOP: Final = 116
BOTTOM: Final = 44
# Rows of names above the curves, and about how wide a character of them is.
ROWS: Final = 4
CHARACTER: Final = 6.5
STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}"
    ".title{font-size:15px;font-weight:600}.line{fill:none;stroke-width:1.5}"
    ".page{fill:#ffffff}text{fill:#1f2328}.small{fill:#59636e}.axis{stroke:#c8d1da}"
    ".ran{stroke:#1e7a43}.sent{stroke:#1a5fb4;stroke-dasharray:3 3}.fault{fill:#b3540a;fill-opacity:.16}"
    "@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#f0f6fc}.small{fill:#9da7b1}"
    ".axis{stroke:#3d444d}.ran{stroke:#74d69a}.sent{stroke:#83b6ff}.fault{fill:#f2a35e}}"
)


def picture(run: Run, verdict: Verdict) -> str:
    """Draw what was confirmed and what ran in every second, with the faults.

    Args:
        run: The run.
        verdict: What came of it.

    Returns:
        An SVG document.
    """
    begin, end = extent(run)
    span = max(end - begin, 1.0)
    ran, sent = (Counter(int(each.at - begin) for each in some) for some in (run.ran, run.sent))
    most = max([*ran.values(), *sent.values(), 1])
    inner, floor = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM

    def x(at: float) -> float:
        return LEFT + inner * at / span

    def y(count: float) -> float:
        return floor - (floor - TOP) * count / most

    def line(counts: Mapping[int, int], name: str) -> str:
        points = " ".join(f"{x(at):.1f},{y(counts.get(at, 0)):.1f}" for at in range(int(span) + 1))
        return f'<polyline class="line {name}" points="{points}"/>'

    parts = []
    # Where the last name of each row ends: a name goes to the lowest row in which it meets no other.
    rows = [0.0] * ROWS
    for event in run.events:
        left, right = x(event.begin - begin), x(event.end - begin)
        width = max(right - left - 2, 2)
        parts.append(
            f'<rect class="fault" x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{floor - TOP}">'
            f"<title>{escape(event.name)}</title></rect>"
        )
        # A name that has no room before the edge begins earlier.
        start = min(left, WIDTH - CHARACTER * len(event.name))
        row = next((number for number, taken in enumerate(rows) if taken < start), ROWS - 1)
        rows[row] = start + CHARACTER * (len(event.name) + 2)
        parts.append(
            f'<text class="small" x="{start:.1f}" y="{TOP - 6 - 16 * row}">{escape(event.name)}</text>'
        )
    for at in range(0, int(span) + 1, max(30, int(span / 10) // 30 * 30)):
        parts.append(
            f'<text class="small" x="{x(at):.1f}" y="{floor + 18}" text-anchor="middle">{at} s</text>'
        )
    for count in (0, most // 2, most):
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(count):.1f}" y2="{y(count):.1f}"/>'
        )
        parts.append(
            f'<text class="small" x="{LEFT - 8}" y="{y(count) + 4:.1f}" text-anchor="end">{count}</text>'
        )
    title = (
        f"{verdict.sent} tasks confirmed, {verdict.ran} of them ran, {len(verdict.lost)} lost; "
        f"{sum(verdict.duplicates.values())} ran again; longest gap {verdict.rows[0].gap:.1f} s"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="proof-title" '
            f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
            f'<title id="proof-title">{title}</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            f'<text class="title" x="{LEFT}" y="30">{title}</text>',
            *parts,
            line(sent, "sent"),
            line(ran, "ran"),
            f'<text class="small" x="{LEFT}" y="{HEIGHT - 8}">tasks a second: ran (solid), confirmed '
            "(dashed); shaded: from a fault until the cluster was whole again</text>",
            "</svg>\n",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Print the table of a run, and draw its picture."""
    directory = Path(arguments[0] if arguments else ".cache/proof")
    target = Path(arguments[1] if len(arguments) > 1 else "docs/measured/proof.svg")
    run = read(directory)
    verdict = judge(run)
    print(table(verdict))
    target.write_text(picture(run, verdict))
    return 1 if verdict.lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
