"""Dashboards: the pages as Grafana (10 and newer) reads them."""

from __future__ import annotations

from typing import Any, Final

from .panels import PAGES, SELECTED, Column, Graph, Page, Table, Unit

_UNITS: Final = {
    Unit.COUNT: "short",
    Unit.DECIMAL: "short",
    Unit.RATE: "ops",
    Unit.RATIO: "percentunit",
    Unit.SECONDS: "s",
    Unit.BYTES: "bytes",
}
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's grid has 24 columns; a row of a table takes one unit of height.
_WIDE: Final = {"w": 24, "h": 9}
_HALF: Final = {"w": 12, "h": 9}
_BAD: Final = "red"
_WELL: Final = "green"

# Where the dashboards are on the host of a Grafana that finds them by a file.
DIRECTORY: Final = "/var/lib/grafana/dashboards/celery-fleet"

_PROVISIONING: Final = f"""\
---
apiVersion: 1
providers:
  - name: celery-fleet
    folder: Celery fleet
    type: file
    disableDeletion: true
    options: {{path: {DIRECTORY}}}
"""

Json = dict[str, Any]


def dashboards() -> dict[str, Json]:
    """Return the dashboards by their files' names, in plain types."""
    return {f"{page.name}.json": _dashboard(page) for page in PAGES}


def provisioning() -> str:
    """Return the file by which a Grafana finds the dashboards."""
    return _PROVISIONING


def _dashboard(page: Page) -> Json:
    panels, x, y = [], 0, 0
    for number, panel in enumerate(page.panels, start=1):
        size = _WIDE if isinstance(panel, Table) else _HALF
        if x + size["w"] > 24:
            x, y = 0, y + 9
        made = _table(panel) if isinstance(panel, Table) else _graph(panel)
        panels.append(
            {
                "id": number,
                "title": panel.title,
                "datasource": _SOURCE,
                "gridPos": {"x": x, "y": y, **size},
                **made,
            }
        )
        x += size["w"]
    chosen = any(SELECTED in target["expr"] for panel in panels for target in panel["targets"])
    return {
        "uid": f"celery-fleet-{page.name}",
        "title": f"Celery fleet: {page.title}",
        "tags": ["celery-fleet"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_SOURCES, *([_POOLS] if chosen else [])]},
        "links": [
            {
                "type": "dashboards",
                "title": "Celery fleet",
                "tags": ["celery-fleet"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": panels,
    }


_SOURCES: Final[Json] = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
}
_POOLS: Final[Json] = {
    "name": "pool",
    "label": "Pool",
    "type": "query",
    "datasource": _SOURCE,
    "query": "label_values(celery_fleet:wait_target_seconds, pool)",
    "refresh": 2,
    "multi": True,
    "includeAll": True,
    "allValue": ".+",
    "current": {"text": "All", "value": "$__all"},
    "sort": 1,
}


def _graph(graph: Graph) -> Json:
    targets = [
        {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
        for number, (legend, expression) in enumerate(graph.lines.items())
    ]
    return {
        "type": "timeseries",
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": _UNITS[graph.unit], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _table(table: Table) -> Json:
    """Return a table: an instant query for each column, joined by the labels of the rows."""
    columns = [None, *table.columns]
    targets = [
        {
            "refId": chr(ord("A") + number),
            "expr": table.expression(column),
            "format": "table",
            "instant": True,
            "datasource": _SOURCE,
        }
        for number, column in enumerate(columns)
    ]
    values = {f"Value #{target['refId']}": column for target, column in zip(targets, columns, strict=True)}
    hidden = ["Time", *(name for name, column in values.items() if column is None or column.label)]
    names = {column.label or name: column.title for name, column in values.items() if column is not None} | {
        "alertname": "alert",
        "instance": "host",
    }
    return {
        "type": "table",
        "targets": targets,
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {"excludeByName": dict.fromkeys(hidden, True), "renameByName": names},
            },
        ],
        "fieldConfig": {
            "defaults": {"noValue": table.nothing},
            "overrides": [_override(column) for column in table.columns],
        },
        "options": {"showHeader": True},
    }


def _override(column: Column) -> Json:
    properties: list[Json] = []
    if not column.label:
        properties.append({"id": "unit", "value": _UNITS[column.unit]})
    if column.unit in (Unit.COUNT, Unit.RATIO):
        properties.append({"id": "decimals", "value": 0})
    if column.high is not None or column.low is not None:
        first, then = (_WELL, _BAD) if column.high is not None else (_BAD, _WELL)
        edge = column.high if column.high is not None else column.low
        steps = [{"color": first, "value": None}, {"color": then, "value": edge}]
        properties += [
            {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    mappings: list[Json] = []
    if column.words:
        words = {f"{value:.0f}": {"text": word} for value, word in column.words.items()}
        mappings.append({"type": "value", "options": words})
    if column.fine:
        others = {"match": "null", "result": {"color": _BAD}}
        fine = {word: {"text": word, "color": _WELL} for word in column.fine}
        mappings += [{"type": "value", "options": fine}, {"type": "special", "options": others}]
    if mappings:
        properties.append({"id": "mappings", "value": mappings})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}
