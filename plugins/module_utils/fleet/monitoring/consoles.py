"""Consoles: the pages as templates that Prometheus itself fills in, without a library or a script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .panels import PAGES, SELECTED, Column, Graph, Page, Table, Unit

_STYLE: Final = """\
:root { color-scheme: light dark; --text: #1c2024; --soft: #60666d; --line: #dfe2e6; --back: #fff;
  --bad: #a40e26; --bad-back: #ffebe9; --well: #116329 }
@media (prefers-color-scheme: dark) { :root { --text: #e3e6ea; --soft: #9aa1a9; --line: #333940;
  --back: #15181c; --bad: #ff9a92; --bad-back: #47181c; --well: #6fce7f } }
body { margin: 0 auto; max-width: 90rem; padding: 1rem 1.5rem 3rem; background: var(--back);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif }
nav { display: flex; flex-wrap: wrap; gap: 0 1.2rem; color: var(--soft) }
nav b { color: var(--text) }
nav span { margin-left: auto }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em }
h1 { font-size: 1.5rem; font-weight: 600; margin: 1rem 0 }
h2 { font-size: 1rem; font-weight: 600; margin: 1.8rem 0 .3rem }
p { color: var(--soft); margin: .3rem 0 }
div { overflow-x: auto }
.graph { display: inline-block; vertical-align: top; margin-right: 4rem }
table { border-collapse: collapse }
th { font-weight: 400; color: var(--soft); font-size: .85rem; vertical-align: bottom }
th a { text-decoration: none }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 0 .3rem 1.2rem; text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums }
th.key, td.key { text-align: left; padding: .3rem 1.2rem .3rem 0 }
td:empty::before { content: "\\2013"; color: var(--soft) }
.well { color: var(--well) }
.bad { color: var(--bad); font-weight: 600 }
td.bad { background: var(--bad-back) }
"""
# How the value of a series is written.
_FORMATS: Final = {
    Unit.COUNT: 'printf "%.0f" .Value',
    Unit.DECIMAL: 'printf "%.2f" .Value',
    Unit.RATE: 'printf "%.2f/s" .Value',
    Unit.RATIO: 'printf "%.0f %%" .Value',
    Unit.SECONDS: "humanizeDuration .Value",
    Unit.BYTES: "humanize1024 .Value",
}
_HEADS: Final = {"alertname": "alert", "instance": "host"}


def consoles() -> dict[str, str]:
    """Return the templates by their files' names."""
    return {f"{page.name}.html": "".join(f"{line}\n" for line in _page(page)) for page in PAGES}


def _page(page: Page) -> Iterator[str]:
    # A page that others link to by a label shows the chosen series only.
    yield f"{{{{ $chosen := .Params.{page.about} }}}}" if page.about else '{{ $chosen := "" }}'
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="30">'
    yield f"<title>{page.title}</title><style>\n{_STYLE}</style></head><body><nav>"
    for each in PAGES:
        yield f"<b>{each.title}</b>" if each == page else f'<a href="{each.name}.html">{each.title}</a>'
    yield "<span>{{ with query `round(vector(time()))` }}"
    yield "{{ . | first | value | humanizeTimestamp }}{{ end }}</span></nav>"
    if page == PAGES[0]:
        yield from _verdict()
    else:
        yield f"<h1>{page.title}{{{{ if $chosen }}}} {{{{ $chosen }}}}{{{{ end }}}}</h1>"
    for panel in page.panels:
        table = isinstance(panel, Table)
        yield f"<section{'' if table else ' class=graph'}><h2>{panel.title}</h2><div>"
        yield from _table(panel, page.about) if isinstance(panel, Table) else _graph(panel, page.about)
        yield "</div></section>"
    yield "</body></html>"


def _verdict() -> Iterator[str]:
    """Say in one line whether a person should look, and at what."""
    alerts, pools = (panel for panel in PAGES[0].panels[:2] if isinstance(panel, Table))
    state = pools.expression(pools.columns[0])
    yield f"{{{{ $alerts := {_query(alerts.expression())} }}}}"
    yield f"{{{{ $alerted := {_query(f'{state} == 2')} | sortByLabel `pool` }}}}"
    yield f"{{{{ $behind := {_query(f'{state} == 1')} | sortByLabel `pool` }}}}"
    yield f"{{{{ if not ({_query(pools.expression())}) }}}}"
    yield '<h1 class="bad">Nothing is known of the fleet</h1>'
    yield '{{ else if or $alerts $behind }}<h1 class="bad">'
    yield "{{- with len $alerts }}{{ . }} alert{{ if ne . 1 }}s{{ end }}{{ end }}"
    yield "{{- range $i, $each := $alerted }}{{ if $i }}, {{ else }}: {{ end }}{{ .Labels.pool }}{{ end }}"
    yield "{{- if and $alerts $behind }}; {{ end }}"
    yield "{{- range $i, $each := $behind }}{{ if $i }}, {{ end }}{{ .Labels.pool }}{{ end }}"
    yield "{{- if $behind }} behind{{ end }}</h1>"
    yield '{{ else }}<h1 class="well">All is well</h1>{{ end }}'


def _query(expression: str) -> str:
    """Return the template's call for an expression, of all pools."""
    return f"query `{_of_all(expression)}`"


def _of_all(expression: str) -> str:
    return expression.replace(SELECTED, 'pool=~".+"')


def _link(expression: str, text: str) -> str:
    """Return a link to the graph of an expression."""
    return f'<a href="{{{{ pathPrefix }}}}{{{{ graphLink `{_of_all(expression)}` }}}}">{text}</a>'


def _table(table: Table, about: str) -> Iterator[str]:
    rows = _query(table.expression())
    for label in reversed(table.key):
        rows += f" | sortByLabel `{label}`"
    for number, column in enumerate(table.columns):
        yield f"{{{{ $c{number} := {_query(_scaled(table.expression(column), column.unit))} }}}}"
    yield f"{{{{ with {rows} }}}}<table><thead><tr>"
    yield "".join(f'<th class="key">{_HEADS.get(label, label)}</th>' for label in table.key)
    yield "".join(f"<th>{_link(table.expression(each), each.title)}</th>" for each in table.columns)
    yield "</tr></thead><tbody>{{ range . }}{{ $r := .Labels }}"
    yield f"{{{{ if or (not $chosen) (eq $chosen $r.{about}) }}}}<tr>" if about else "<tr>"
    for place, label in enumerate(table.key):
        text = f"{{{{ $r.{label} }}}}"
        if table.page and not place:
            text = f'<a href="{table.page}.html?{label}={text}">{text}</a>'
        yield f'<td class="key">{text}</td>'
    for number, column in enumerate(table.columns):
        yield from _cell(number, column, table.key)
    yield f"</tr>{'{{ end }}' if about else ''}{{{{ end }}}}</tbody></table>"
    yield f"{{{{ else }}}}<p>{table.nothing}</p>{{{{ end }}}}"


def _scaled(expression: str, unit: Unit) -> str:
    """Return an expression in the unit in which it is written."""
    if unit is Unit.RATIO:
        return f"100 * ({expression})"
    # A duration is cut, not rounded, when it is written.
    return f"round({expression}, 0.001)" if unit is Unit.SECONDS else expression


def _cell(number: int, column: Column, key: tuple[str, ...]) -> Iterator[str]:
    """Write a column's cell of the row `$r`; it stays empty where the figure is unknown or no number."""
    same = [f"(eq .Labels.{label} $r.{label})" for label in key]
    yield f"{{{{ $seen := false }}}}{{{{ range $c{number} }}}}"
    yield f"{{{{ if and (not $seen) {' '.join(same)} }}}}{{{{ $seen = true }}}}"
    yield f"<td{_state(column)}>{_shown(column)}</td>{{{{ end }}}}{{{{ end }}}}"
    yield "{{ if not $seen }}<td></td>{{ end }}"


def _state(column: Column) -> str:
    """Write the attribute of a cell that a person should look at."""
    scale = 100 if column.unit is Unit.RATIO else 1
    well = "well" if column.words else ""
    if column.fine:
        fine = " ".join(f"(eq .Labels.{column.label} `{each}`)" for each in column.fine)
        return f'{{{{ if not (or {fine}) }}}} class="bad"{{{{ end }}}}'
    if column.high is None and column.low is None:
        return ""
    bad = (
        f"lt .Value {column.low * scale:.1f}"
        if column.low is not None
        else f"ge .Value {(column.high or 0) * scale:.1f}"
    )
    return f' class="{{{{ if and (eq .Value .Value) ({bad}) }}}}bad{{{{ else }}}}{well}{{{{ end }}}}"'


def _shown(column: Column) -> str:
    if column.label:
        return f"{{{{ .Labels.{column.label} }}}}"
    if column.words:
        words = [
            f"{{{{ if eq .Value {value:.1f} }}}}{word}{{{{ end }}}}" for value, word in column.words.items()
        ]
        return "".join(words)
    # What is no number differs from itself.
    return f"{{{{ if eq .Value .Value }}}}{{{{ {_FORMATS[column.unit]} }}}}{{{{ end }}}}"


def _graph(graph: Graph, about: str) -> Iterator[str]:
    """Write what the lines are at now, with links to how they were."""
    yield "<table><tbody>"
    for legend, expression in graph.lines.items():
        labels = re.findall(r"{{(\w+)}}", legend)
        rows = _query(_scaled(expression, graph.unit))
        for label in reversed(labels):
            rows += f" | sortByLabel `{label}`"
        yield f"{{{{ range {rows} }}}}"
        chosen = about if about in labels else ""
        yield f"{{{{ if or (not $chosen) (eq $chosen .Labels.{chosen}) }}}}" if chosen else ""
        text = re.sub(r"{{(\w+)}}", r"{{ .Labels.\1 }}", legend)
        yield f'<tr><td class="key">{_link(expression, text)}</td>'
        yield f"<td>{_shown(Column(legend, expression, graph.unit))}</td></tr>"
        yield f"{'{{ end }}' if chosen else ''}{{{{ end }}}}"
    yield "</tbody></table>"
