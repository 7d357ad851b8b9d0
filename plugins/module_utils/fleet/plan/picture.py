"""The picture of a fleet: exchanges, queues, pools and hosts, as SVG and as Mermaid text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from math import fsum
from textwrap import wrap
from typing import Any, Final

from ..text import count
from .ranges import host_ranges

MIB_PER_GIB: Final = 1024
# Sizes in pixels: text, the height of a line, the room between boxes, columns and pools.
TEXT: Final = 13
SMALL: Final = 12
LINE: Final = 19
PAD: Final = 10
GAP: Final = 8
COLUMN_GAP: Final = 84
POOL_GAP: Final = 26
EDGE: Final = 28
TOP: Final = 100
# Names of hosts are wrapped to as many characters, and as many lines of them shown.
HOSTS_WIDTH: Final = 40
HOSTS_LINES: Final = 4
# With more shapes of hosts than this, those with the same pools share a box, and figures become ranges.
GROUPS_MOST: Final = 16
# Fill and line of each kind of pool, on a light and on a dark background.
COLOURS: Final = {
    "cpu": ("#ffedd9", "#b3540a", "#3a2412", "#f2a35e"),
    "io": ("#deebff", "#1a5fb4", "#13294b", "#83b6ff"),
    "memory": ("#f1e6fc", "#7a3cc0", "#2d1b45", "#c8a2f8"),
    "general": ("#dff4e5", "#1e7a43", "#122f1e", "#74d69a"),
}

# Widths of characters as shares of the text's size, as wide as common sans-serif fonts have them.
_NARROW: Final = dict.fromkeys("ijl.,:;'|![]() ", 0.4) | dict.fromkeys('ftr-/"', 0.45)
_WIDE: Final = dict.fromkeys("mwMWQ@%→≤·", 1.0)
_CAPITAL: Final = 0.78
_OTHER: Final = 0.65


@dataclass(frozen=True)
class Group:
    """Hosts that run the same pools; ``entries`` are theirs in what ``fleet_plan`` returned."""

    entries: Sequence[Mapping[str, Any]]

    @property
    def hosts(self) -> list[str]:
        """Their names."""
        return [entry["host"] for entry in self.entries]

    @property
    def pools(self) -> list[str]:
        """The names of their pools."""
        return list(self.entries[0]["pools"])

    @property
    def title(self) -> str:
        """How many there are, or the name of the only one."""
        return f"{len(self.hosts)} hosts" if len(self.hosts) > 1 else self.hosts[0]

    @property
    def names(self) -> list[str]:
        """Lines that name them, unless the title does."""
        ranges = host_ranges(self.hosts)
        for shown in range(min(len(ranges), 2 * HOSTS_LINES), 0, -1):
            more = [f"and {len(ranges) - shown} more"] if shown < len(ranges) else []
            lines = (
                wrap(", ".join(ranges[:shown]), HOSTS_WIDTH, break_on_hyphens=False, break_long_words=False)
                + more
            )
            if len(lines) <= HOSTS_LINES:
                break
        return lines if len(self.hosts) > 1 else []

    @property
    def hardware(self) -> str:
        """What they have."""
        all_hardware = [entry["hardware"] for entry in self.entries]
        cores = _range((hardware["cores"] for hardware in all_hardware), "{:g}")
        memory = _range((hardware["memory_mib"] / MIB_PER_GIB for hardware in all_hardware), "{:.0f}")
        return f"{cores} cores, {memory} GiB"

    def line(self, name: str) -> str:
        """Return the figures of one of their pools."""
        pools = [entry["pools"][name] for entry in self.entries]
        least = (pool["autoscale"]["min"] if pool["autoscale"]["enabled"] else None for pool in pools)
        tasks = _range(
            (n for pool, low in zip(pools, least, strict=True) for n in (low, pool["concurrency"])), "{}"
        )
        memory = _range((pool["memory_max_mib"] / MIB_PER_GIB for pool in pools), "{:.0f}")
        return f"{tasks} at once, {memory} GiB"


def _range(figures: Iterable[float | None], shown: str) -> str:
    """Return the least and the greatest of the figures that are known, once if they look the same."""
    values = [figure for figure in figures if figure is not None]
    return " to ".join(dict.fromkeys(shown.format(figure) for figure in (min(values), max(values))))


@dataclass(frozen=True)
class Drawing:
    """What there is to draw, in the order in which it is drawn."""

    pools: Mapping[str, Mapping[str, Any]]
    groups: Sequence[Group]

    @property
    def exchanges(self) -> dict[str, list[str]]:
        """The pools of each exchange."""
        by_exchange: dict[str, list[str]] = {}
        for name, pool in self.pools.items():
            by_exchange.setdefault(pool["exchange"], []).append(name)
        return by_exchange

    def title(self, name: str) -> str:
        """Return a pool's name, with a note if it runs nowhere."""
        runs = any(name in group.pools for group in self.groups)
        return name if runs else f"{name} (on no host)"

    @property
    def summary(self) -> str:
        """The fleet in one line."""
        queues = sum(len(pool["queues"]) for pool in self.pools.values())
        hosts = sum(len(group.hosts) for group in self.groups)
        tasks = sum(
            pool["concurrency"]
            for group in self.groups
            for entry in group.entries
            for pool in entry["pools"].values()
        )
        return (
            f"{count(queues, 'queue')} → {count(len(self.pools), 'pool')} → {count(hosts, 'host')}: "
            f"{count(tasks, 'task')} at once"
        )


def drawing(document: Mapping[str, Any]) -> Drawing:
    """Group the hosts of a plan by their shape, and put pools beside those that they share hosts with.

    Args:
        document: What ``fleet_plan`` returned.

    Returns:
        What there is to draw; hosts without a pool are left out.
    """
    running = [entry for entry in document["hosts"] if entry["pools"]]
    groups = _grouped(running, lambda entry: tuple((n, Group([entry]).line(n)) for n in entry["pools"]))
    if len(groups) > GROUPS_MOST:
        groups = _grouped(running, lambda entry: tuple(entry["pools"]))
    order = list(dict.fromkeys([name for group in groups for name in group.pools] + list(document["pools"])))
    exchanges = dict.fromkeys(document["pools"][name]["exchange"] for name in order)
    pools = {
        name: document["pools"][name]
        for exchange in exchanges
        for name in order
        if document["pools"][name]["exchange"] == exchange
    }
    return Drawing(pools, groups)


def _grouped(
    entries: Iterable[Mapping[str, Any]], shape: Callable[[Mapping[str, Any]], tuple[Any, ...]]
) -> list[Group]:
    by_shape: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_shape.setdefault(shape(entry), []).append(entry)
    return [Group(same) for same in by_shape.values()]


def _pool_lines(drawn: Drawing, name: str) -> list[str]:
    pool = drawn.pools[name]
    return [
        drawn.title(name),
        f"{pool['execution']}, prefetch {pool['prefetch_multiplier']}",
        f"limits {pool['time_limit']} / {pool['soft_time_limit']} s",
    ]


def _queue_line(queue: Mapping[str, Any]) -> str:
    most = "no limit" if queue["max_length"] is None else f"≤ {queue['max_length']}"
    return f"{queue['routing_key']} · {most}"


@dataclass(frozen=True)
class Box:
    """A rectangle; ``x`` and ``y`` are its upper left corner (pixels)."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """The middle of its left side."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        """The middle of its right side."""
        return self.x + self.width, self.y + self.height / 2


def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Return how wide a text is at most in a common sans-serif font.

    Args:
        text: One line.
        size: Of the font, in pixels.
        bold: Whether it is bold.

    Returns:
        Pixels.
    """
    shares = (
        _NARROW.get(char) or _WIDE.get(char) or (_CAPITAL if char.isupper() else _OTHER) for char in text
    )
    # Python's sum() adds up otherwise from 3.12 on, and the picture is to be the same with all.
    return fsum(shares) * size * (1.12 if bold else 1)


def svg(document: Mapping[str, Any]) -> str:
    """Draw a fleet.

    Args:
        document: What ``fleet_plan`` returned.

    Returns:
        An SVG picture that brings its own background, light or dark as its reader prefers.
    """
    drawn = drawing(document)
    widths = _column_widths(drawn)
    columns = [EDGE + start + at * COLUMN_GAP for at, start in enumerate(accumulate([0, *widths[:-1]]))]
    group_heights = [_group_height(group) for group in drawn.groups]
    bands = {
        name: max(len(pool["queues"]) * (LINE + GAP + 5) - GAP, 3 * LINE + 2 * PAD)
        for name, pool in drawn.pools.items()
    }
    room = sum(bands.values()) + POOL_GAP * (len(bands) - 1)
    needed = sum(group_heights) + GAP * 2 * (len(group_heights) - 1)
    gap = POOL_GAP + max(0, needed - room) / max(1, len(bands) - 1)

    pools: dict[str, Box] = {}
    queues: dict[str, Box] = {}
    y = float(TOP)
    for name, pool in drawn.pools.items():
        height = LINE + 5
        first = y + (bands[name] - len(pool["queues"]) * (height + GAP) + GAP) / 2
        for at, queue in enumerate(pool["queues"]):
            queues[queue] = Box(columns[1], first + at * (height + GAP), widths[1], height)
        tall = 3 * LINE + 2 * PAD
        pools[name] = Box(columns[2], y + (bands[name] - tall) / 2, widths[2], tall)
        y += bands[name] + gap
    bottom = max(y - gap, TOP + needed)
    groups = _place_groups(drawn, pools, group_heights, columns[3], widths[3], bottom)
    exchanges = {}
    for exchange, names in drawn.exchanges.items():
        centre = (pools[names[0]].left[1] + pools[names[-1]].left[1]) / 2
        exchanges[exchange] = Box(columns[0], centre - 17, widths[0], 34)

    width = columns[3] + widths[3] + EDGE
    parts = [*_edges(drawn, exchanges, queues, pools, groups)]
    parts += [part for name, box in exchanges.items() for part in _exchange(name, box, drawn)]
    for name, pool in drawn.pools.items():
        for queue, fields in pool["queues"].items():
            parts += _queue(queue, fields, queues[queue], pool["kind"])
        parts += _pool(name, pools[name], drawn)
    for group, box in zip(drawn.groups, groups, strict=True):
        parts += _group(group, box, drawn)
    return _page(drawn, columns, max(width, 640), bottom + EDGE, parts)


def _column_widths(drawn: Drawing) -> list[float]:
    exchanges = [text_width(name, bold=True) for name in drawn.exchanges]
    queues = [
        text_width(name) + text_width(_queue_line(queue), SMALL) + 24
        for pool in drawn.pools.values()
        for name, queue in pool["queues"].items()
    ]
    pools = [
        width
        for name in drawn.pools
        for title, *lines in [_pool_lines(drawn, name)]
        for width in (text_width(title, bold=True), *(text_width(line, SMALL) for line in lines))
    ]
    groups = [
        width
        for group in drawn.groups
        for width in (
            text_width(group.title, bold=True) + text_width(group.hardware, SMALL) + 24,
            *(text_width(line, SMALL) for line in group.names),
            *(text_width(name, bold=True) + text_width(group.line(name), SMALL) + 40 for name in group.pools),
        )
    ]
    return [max(column, default=100) + 2 * PAD for column in (exchanges, queues, pools, groups)]


def _group_height(group: Group) -> float:
    return (1 + len(group.names) + len(group.pools)) * LINE + 2 * PAD


def _place_groups(
    drawn: Drawing, pools: Mapping[str, Box], heights: Sequence[float], x: float, width: float, bottom: float
) -> list[Box]:
    """Place each group of hosts as near to its pools as the others leave room."""
    centres = [sum(pools[name].left[1] for name in group.pools) / len(group.pools) for group in drawn.groups]
    order = sorted(range(len(centres)), key=lambda at: centres[at])
    places = [0.0] * len(centres)
    y = float(TOP)
    for at in order:
        places[at] = max(y, centres[at] - heights[at] / 2)
        y = places[at] + heights[at] + 2 * GAP
    y = bottom
    for at in reversed(order):
        places[at] = min(places[at], y - heights[at])
        y = places[at] - 2 * GAP
    return [Box(x, place, width, height) for place, height in zip(places, heights, strict=True)]


def _edges(
    drawn: Drawing,
    exchanges: Mapping[str, Box],
    queues: Mapping[str, Box],
    pools: Mapping[str, Box],
    groups: Sequence[Box],
) -> Iterable[str]:
    for name, pool in drawn.pools.items():
        for queue in pool["queues"]:
            yield _edge(exchanges[pool["exchange"]].right, queues[queue].left, pool["kind"])
            yield _edge(queues[queue].right, pools[name].left, pool["kind"])
    for group, box in zip(drawn.groups, groups, strict=True):
        for at, name in enumerate(group.pools):
            end = (box.x, _pool_row(group, box, at))
            yield _edge(pools[name].right, end, drawn.pools[name]["kind"])


def _pool_row(group: Group, box: Box, at: int) -> float:
    return box.y + PAD + (1 + len(group.names) + at) * LINE + LINE / 2


def _edge(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    bend = (end[0] - start[0]) / 2
    return (
        f'<path class="edge {kind}" d="M{start[0]:.1f} {start[1]:.1f} C{start[0] + bend:.1f} {start[1]:.1f} '
        f'{end[0] - bend:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"/>'
    )


def _rect(box: Box, names: str, round_by: float = 6) -> str:
    return (
        f'<rect class="{names}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{round_by:g}"/>'
    )


def _text(x: float, middle: float, text: str, names: str = "", end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{names}" x="{x:.1f}" y="{middle + 4.5:.1f}"{anchor}>{escape(text)}</text>'


def _exchange(name: str, box: Box, drawn: Drawing) -> Iterable[str]:
    kind = drawn.pools[drawn.exchanges[name][0]]["kind"]
    yield _rect(box, f"box {kind}", 17)
    yield _text(box.x + PAD, box.left[1], name, "strong")


def _queue(name: str, queue: Mapping[str, Any], box: Box, kind: str) -> Iterable[str]:
    yield _rect(box, f"plain {kind}", 3)
    yield _text(box.x + PAD, box.left[1], name)
    yield _text(box.x + box.width - PAD, box.left[1], _queue_line(queue), "small", end=True)


def _pool(name: str, box: Box, drawn: Drawing) -> Iterable[str]:
    yield _rect(box, f"box {drawn.pools[name]['kind']}")
    for at, line in enumerate(_pool_lines(drawn, name)):
        yield _text(box.x + PAD, box.y + PAD + (at + 0.5) * LINE, line, "small" if at else "strong")


def _group(group: Group, box: Box, drawn: Drawing) -> Iterable[str]:
    yield _rect(box, "host")
    line = box.y + PAD + LINE / 2
    yield _text(box.x + PAD, line, group.title, "strong")
    yield _text(box.x + box.width - PAD, line, group.hardware, "small", end=True)
    for at, names in enumerate(group.names, start=1):
        yield _text(box.x + PAD, line + at * LINE, names, "small")
    for at, name in enumerate(group.pools):
        middle = _pool_row(group, box, at)
        kind = drawn.pools[name]["kind"]
        yield _rect(Box(box.x + PAD, middle - 5, 10, 10), f"box {kind}", 2)
        yield _text(box.x + PAD + 18, middle, name, "strong")
        yield _text(box.x + box.width - PAD, middle, group.line(name), "small", end=True)


def _page(drawn: Drawing, columns: Sequence[float], width: float, height: float, parts: Iterable[str]) -> str:
    """Add the style, the headings and the legend to the drawing."""
    light = {kind: colours[:2] for kind, colours in COLOURS.items()}
    dark = {kind: colours[2:] for kind, colours in COLOURS.items()}
    heads = (
        "exchanges",
        "queues: routing key · longest",
        "pools: hard / soft limit",
        "hosts: tasks, memory",
    )
    kinds = [kind for kind in COLOURS if any(pool["kind"] == kind for pool in drawn.pools.values())]
    legend: list[str] = []
    x = width - EDGE
    for kind in reversed(kinds):
        legend.append(_text(x, 34, kind, "small", end=True))
        x -= text_width(kind, SMALL) + 16
        legend.append(_rect(Box(x, 29, 10, 10), f"box {kind}", 2))
        x -= 18
    style = [
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
        f"font-size:{TEXT}px}}.small{{font-size:{SMALL}px}}.strong{{font-weight:600}}.title{{font-size:17px}}"
        ".edge{fill:none;stroke-width:1.5;stroke-opacity:.6}rect{stroke-width:1.2}",
        _colours("#ffffff", "#1f2328", "#59636e", "#c8d1da", "#f6f8fa", light),
        "@media(prefers-color-scheme:dark){"
        + _colours("#0d1117", "#f0f6fc", "#9da7b1", "#3d444d", "#161b22", dark)
        + "}",
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="fleet-title" '
            f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
            f'<title id="fleet-title">{escape(drawn.summary)}</title>',
            f"<style>{''.join(style)}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="8"/>',
            _text(EDGE, 34, drawn.summary, "strong title"),
            *legend,
            *(_text(x, TOP - 26, head, "small") for x, head in zip(columns, heads, strict=True)),
            *parts,
            "</svg>\n",
        ]
    )


def _colours(
    page: str, text: str, muted: str, line: str, host: str, kinds: Mapping[str, Sequence[str]]
) -> str:
    own = "".join(
        f".box.{kind}{{fill:{fill};stroke:{edge}}}.plain.{kind},.edge.{kind}{{stroke:{edge}}}"
        for kind, (fill, edge) in kinds.items()
    )
    return (
        f".page,.plain{{fill:{page}}}text{{fill:{text}}}.small{{fill:{muted}}}"
        f".host{{fill:{host};stroke:{line}}}{own}"
    )


def mermaid(document: Mapping[str, Any]) -> str:
    """Write the picture as a Mermaid flow chart.

    Args:
        document: What ``fleet_plan`` returned.

    Returns:
        The text of the chart.
    """
    drawn = drawing(document)
    exchanges = {name: f"x{at}" for at, name in enumerate(drawn.exchanges)}
    pools = {name: f"p{at}" for at, name in enumerate(drawn.pools)}
    lines = ["flowchart LR"]
    lines += [f"  {exchanges[name]}{{{{{_label(name)}}}}}" for name in exchanges]
    queue = 0
    for name, pool in drawn.pools.items():
        kind = pool["kind"]
        lines.append(f"  {pools[name]}[{_label(*_pool_lines(drawn, name))}]:::{kind}")
        for title, fields in pool["queues"].items():
            lines.append(f"  q{queue}[({_label(title, _queue_line(fields))})]:::{kind}")
            lines.append(f"  {exchanges[pool['exchange']]} --> q{queue} --> {pools[name]}")
            queue += 1
    for at, group in enumerate(drawn.groups):
        lines.append(f"  h{at}[{_label(group.title, *group.names, group.hardware)}]")
        lines += [f"  {pools[name]} -- {_label(group.line(name))} --> h{at}" for name in group.pools]
    kinds = dict.fromkeys(pool["kind"] for pool in drawn.pools.values())
    lines += [
        f"  classDef {kind} fill:{COLOURS[kind][0]},stroke:{COLOURS[kind][1]},color:#1f2328" for kind in kinds
    ]
    return "\n".join(lines) + "\n"


def _label(*lines: str) -> str:
    """Quote lines so that nothing in them is taken for a part of the chart."""
    codes = {char: f"#{ord(char)};" for char in '"#;<>&`\\'}
    return '"' + "<br/>".join("".join(codes.get(char, char) for char in line) for line in lines) + '"'
