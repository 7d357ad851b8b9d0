"""What chaos does, from a seed, and what came of a run: loss, causes, availability and gaps, for people."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from fleet.host.names import Node
from fleet.text import columns

from trials.ledger import PUBLISHED_AGAIN, UNEXPLAINED, Again, Event, Key, Run, lost, repeated

VERBS: Final = ("deploy", "rollback", "restart", "drain")
"""What an operator does; `drain` is followed by its undrain."""

FAULTS: Final = (
    *("kill child", "kill main", "stop main", "broker restart", "cut", "full disk", "reboot"),
    *("hostile report", "lost vault", "clock", "broker reinstalled"),
)
"""What happens to a fleet."""

FLEET_WIDE: Final = (
    *("deploy", "rollback", "restart", "broker restart", "full disk"),
    *("lost vault", "clock", "broker reinstalled"),
)
"""What touches more than one host."""


class Step(NamedTuple):
    """One thing to do: what, and to which pool of which host."""

    kind: str
    host: str
    pool: str


def schedule(seed: int, kinds: Sequence[str], pools: Mapping[str, Sequence[str]]) -> Iterator[Step]:
    """Make an endless schedule, in rounds in which each kind comes once, in random order.

    Args:
        seed: The same seed gives the same schedule.
        kinds: Which of the verbs and faults.
        pools: The pools of each worker host.

    Yields:
        The steps. In a round a deploy comes before the rollback, which needs one.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    places = [(host, pool) for host in sorted(pools) for pool in sorted(pools[host])]
    while True:
        order = chance.sample(kinds, len(kinds))
        if "deploy" in order and "rollback" in order:
            first, second = sorted((order.index("deploy"), order.index("rollback")))
            order[first], order[second] = "deploy", "rollback"
        for kind in order:
            yield Step(kind, *chance.choice(places))


# What came of it ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """How a pool fared.

    Attributes:
        name: The pool.
        ran: Executions.
        available: Share of the seconds in which it executed a task.
        gap: Longest time without an execution, in seconds.
        during: What was going on then; empty if nothing.
    """

    name: str
    ran: int
    available: float
    gap: float
    during: str


@dataclass(frozen=True)
class Kind:
    """What one kind of event did.

    Attributes:
        name: The kind.
        times: How often it happened.
        typical: Median of the seconds until all was whole again.
        longest: The longest of them.
        duplicates: Executions beyond the first that it explains.
    """

    name: str
    times: int
    typical: float
    longest: float
    duplicates: int


@dataclass(frozen=True)
class Verdict:
    """What came of a run of chaos.

    Attributes:
        seconds: How long tasks were published.
        sent: How many tasks were confirmed.
        ran: How many of them ran.
        lost: Those that did not.
        unknown: Those that ran and that no publisher has: a ledger is missing.
        duplicates: Executions beyond the first of each task, by event and cause.
        fleet: The fleet as if it were one pool.
        pools: Each pool.
        kinds: Each kind of event.
        poisoned: Messages that no worker can run, and that were confirmed.
        dead: Dead letters that came meanwhile.
    """

    seconds: float
    sent: int
    ran: int
    lost: Sequence[Key]
    unknown: Sequence[Key]
    duplicates: Mapping[tuple[str, str], int]
    fleet: Pool
    pools: Sequence[Pool]
    kinds: Sequence[Kind]
    poisoned: int = 0
    dead: int = 0

    @property
    def unexplained(self) -> int:
        """Executions beyond the first that no event explains."""
        return sum(count for (event, _), count in self.duplicates.items() if event == UNEXPLAINED)


def explain(again: Again, events: Iterable[Event]) -> tuple[str, str]:
    """Return which event made a task run again.

    Args:
        again: The execution, and the first of the same task.
        events: All that happened.

    Returns:
        The kind of the event and the cause. Of several events the last that was begun counts; a delivery
        that was repeated needs one that touches a host of either execution, a publication any.
    """
    if again.cause == UNEXPLAINED:
        return UNEXPLAINED, again.cause
    hosts = {each.node.rpartition("@")[2] for each in (again.ran, again.first)}
    for event in sorted(events, key=lambda event: event.begin, reverse=True):
        if (event.holds(again.ran.at) or event.holds(again.first.at)) and (
            again.cause == PUBLISHED_AGAIN or not event.hosts or hosts & set(event.hosts)
        ):
            return event.kind, again.cause
    return UNEXPLAINED, again.cause


def availability(times: Iterable[float], begin: float, end: float) -> float:
    """Return in which share of a time something happened every second.

    Args:
        times: When it happened.
        begin: Begin of the time.
        end: Its end.

    Returns:
        Between 0 and 1; 1 of less than a second.
    """
    seconds = int(end - begin)
    if seconds < 1:
        return 1.0
    return len({int(at - begin) for at in times if 0 <= at - begin < seconds}) / seconds


def widest_gap(times: Iterable[float], begin: float, end: float) -> tuple[float, float]:
    """Find the longest time without an execution.

    Args:
        times: When there was one, in any order.
        begin: From when on.
        end: Until when.

    Returns:
        When it began and when it ended.
    """
    moments = sorted([begin, end, *(at for at in times if begin < at < end)])
    return max(pairwise(moments), key=lambda gap: gap[1] - gap[0])


def judge(run: Run) -> Verdict:
    """Compare what was confirmed with what ran, and measure.

    Args:
        run: The run.

    Returns:
        The verdict.
    """
    begin, end = published(run)
    again = Counter(explain(each, run.events) for each in repeated(run))
    by_pool: dict[str, list[float]] = defaultdict(list)
    for each in run.ran:
        by_pool[pool_of(each.node)].append(each.at)
    kinds: dict[str, list[float]] = defaultdict(list)
    for event in run.events:
        kinds[event.kind].append(event.end - event.begin)
    sent, executed = {each.key for each in run.sent}, {each.key for each in run.ran}
    return Verdict(
        seconds=end - begin,
        sent=len(sent),
        ran=len(sent & executed),
        lost=lost(run),
        unknown=sorted(executed - sent),
        duplicates=again,
        fleet=_pool("the fleet", [each.at for each in run.ran], begin, end, run.events),
        pools=[_pool(name, times, begin, end, run.events) for name, times in sorted(by_pool.items())],
        kinds=[
            Kind(
                name,
                len(took),
                median(took),
                max(took),
                sum(count for (event, _), count in again.items() if event == name),
            )
            for name, took in sorted(kinds.items())
        ],
    )


def pool_of(node: str) -> str:
    """Return the pool of a node by its name, e.g. `cpu` of `cpu_worker_2@host`."""
    name = Node.parse(node)
    return name.pool if name else ""


def published(run: Run) -> tuple[float, float]:
    """Return the moments between which tasks were published."""
    return (
        min((each.begun for each in run.sent), default=0.0),
        max((each.at for each in run.sent), default=0.0),
    )


def _pool(name: str, times: Sequence[float], begin: float, end: float, events: Sequence[Event]) -> Pool:
    since, until = widest_gap(times, begin, end)
    most = max(events, key=lambda event: min(until, event.end) - max(since, event.begin), default=None)
    during = most.name if most and min(until, most.end) > max(since, most.begin) else ""
    return Pool(name, len(times), availability(times, begin, end), until - since, during)


# For people --------------------------------------------------------------------------------------

_POOLS: Final = ("pool", "tasks ran", "available", "longest gap", "during")
_KINDS: Final = ("event", "times", "whole again after", "at most", "ran again")


def _pool_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    return [
        (each.name, str(each.ran), f"{each.available:.1%}", f"{each.gap:.1f} s", each.during or "-")
        for each in (verdict.fleet, *verdict.pools)
    ]


def _kind_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    return [
        (each.name, str(each.times), f"{each.typical:.1f} s", f"{each.longest:.1f} s", str(each.duplicates))
        for each in verdict.kinds
    ]


def _sentences(verdict: Verdict) -> list[str]:
    causes = ", ".join(
        f"{count} {cause if event == UNEXPLAINED == cause else f'{cause} ({event})'}"
        for (event, cause), count in sorted(verdict.duplicates.items())
    )
    return [
        f"published {verdict.sent} in {verdict.seconds:.0f} s, "
        f"of these executed at least once {verdict.ran}, LOST {len(verdict.lost)}",
        f"executed again: {sum(verdict.duplicates.values())} ({causes or 'none'}), "
        f"unexplained {verdict.unexplained}",
        *([f"poisoned messages {verdict.poisoned}, dead letters {verdict.dead}"] if verdict.poisoned else []),
    ]


def table(verdict: Verdict) -> str:
    """Write a verdict for a terminal."""
    return "\n".join(
        [
            *columns([_POOLS, *_pool_rows(verdict)]),
            "",
            *columns([_KINDS, *_kind_rows(verdict)]),
            "",
            *_sentences(verdict),
        ]
    )


def report(run: Run, verdict: Verdict, command: str) -> str:
    """Write a run as a page.

    Args:
        run: The run.
        verdict: What came of it.
        command: What repeats it.

    Returns:
        Markdown, which shows the picture `chaos.svg` beside it.
    """
    begin, _ = published(run)
    events = [
        (f"{event.begin - begin:.0f} s", event.name, f"{event.end - event.begin:.1f} s")
        for event in run.events
    ]
    return "\n".join(
        [
            "# Chaos",
            "",
            f"`{command}`",
            "",
            *(f"- {sentence}" for sentence in _sentences(verdict)),
            "",
            "![Tasks a second by pool, with what happened](chaos.svg)",
            "",
            *_markdown([_POOLS, *_pool_rows(verdict)]),
            "",
            *_markdown([_KINDS, *_kind_rows(verdict)]),
            "",
            *_markdown([("at", "what", "whole again after"), *events]),
            "",
        ]
    )


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *others = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others)]


WIDTH: Final = 960
LEFT: Final = 112
RIGHT: Final = 20
TOP: Final = 48
LANE: Final = 18
PANEL: Final = 84
STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}"
    ".title{font-size:15px;font-weight:600}.page{fill:#ffffff}text{fill:#1f2328}.small{fill:#59636e}"
    ".axis{stroke:#c8d1da}.ran{fill:#1e7a43;fill-opacity:.75}.shade{fill:#59636e;fill-opacity:.1}"
    ".fault{fill:#b3540a}.verb{fill:#1a5fb4}"
    "@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#f0f6fc}.small{fill:#9da7b1}"
    ".axis{stroke:#3d444d}.ran{fill:#74d69a}.fault{fill:#f2a35e}.verb{fill:#83b6ff}}"
)


def picture(run: Run, verdict: Verdict) -> str:
    """Draw a lane for each kind of event, and below them what each pool executed in every second.

    Args:
        run: The run.
        verdict: What came of it.

    Returns:
        An SVG document.
    """
    begin, _ = published(run)
    span = max([each.at - begin for each in run.ran] + [event.end - begin for event in run.events] + [1.0])
    inner = WIDTH - LEFT - RIGHT
    lanes = [kind for kind in (*VERBS, *FAULTS) if any(event.kind == kind for event in run.events)]
    panels = TOP + LANE * len(lanes) + 16
    height = panels + PANEL * len(verdict.pools) + 44

    def x(at: float) -> float:
        return LEFT + inner * at / span

    title = (
        f"{verdict.sent} tasks published, {verdict.ran} of them executed, {len(verdict.lost)} lost; "
        f"{sum(verdict.duplicates.values())} executed again"
    )
    parts = [
        f'<text x="{LEFT - 8}" y="{TOP + LANE * row + 13}" text-anchor="end">{escape(kind)}</text>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{TOP + LANE * (row + 1)}" '
        f'y2="{TOP + LANE * (row + 1)}"/>'
        for row, kind in enumerate(lanes)
    ]
    for event in run.events:
        left = x(event.begin - begin)
        width = max(x(event.end - begin) - left, 2)
        sort = "verb" if event.kind in VERBS else "fault"
        top = TOP + LANE * lanes.index(event.kind)
        parts.append(
            f'<rect class="shade" x="{left:.1f}" y="{panels}" width="{width:.1f}" '
            f'height="{PANEL * len(verdict.pools)}"/>'
            f'<rect class="{sort}" x="{left:.1f}" y="{top + 4}" width="{width:.1f}" height="{LANE - 8}" '
            f'rx="2"><title>{escape(event.name)}: {event.end - event.begin:.1f} s</title></rect>'
        )
    for row, pool in enumerate(verdict.pools):
        counts = Counter(int(each.at - begin) for each in run.ran if pool_of(each.node) == pool.name)
        usual = median(counts.values()) if counts else 1
        # A pool that catches up runs many times its usual; the axis ends at four times of it.
        most = max(min(max(counts.values(), default=1), int(4 * usual)), 1)
        floor = panels + PANEL * (row + 1) - 8
        scale = (PANEL - 16) / most
        bars = "".join(
            f"M{x(at):.1f},{floor}v{-min(count, most) * scale:.1f}h{max(inner / span, 0.8):.1f}V{floor}z"
            for at, count in sorted(counts.items())
            if at >= 0
        )
        parts.append(
            f'<path class="ran" d="{bars}"/>'
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>'
            f'<text x="{LEFT - 8}" y="{floor - 30}" text-anchor="end">{escape(pool.name)}</text>'
            f'<text class="small" x="{LEFT - 8}" y="{floor - 14}" text-anchor="end">'
            f"{pool.available:.1%}</text>"
            f'<text class="small" x="{LEFT - 8}" y="{floor - 58}" text-anchor="end">{most}/s</text>'
        )
    step = max(30, int(span / 10) // 30 * 30)
    parts += [
        f'<text class="small" x="{x(at):.1f}" y="{height - 26}" text-anchor="middle">{at} s</text>'
        for at in range(0, int(span) + 1, step)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="chaos-title" '
            f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
            f'<title id="chaos-title">{title}</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="title" x="{LEFT}" y="30">{title}</text>',
            *parts,
            f'<text class="small" x="{LEFT}" y="{height - 8}">above: verbs (blue) and faults (orange), each '
            "until all was whole again; below: tasks executed a second by pool, and its availability</text>",
            "</svg>\n",
        ]
    )
