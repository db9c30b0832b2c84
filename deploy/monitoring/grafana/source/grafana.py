"""What a Grafana dashboard is made of, as values, and as the JSON that Grafana provisions.

A dashboard is a list of panels in reading order; they flow from left to right, 24 columns to a line. The other modules
here say what is shown; `make.py` writes ../dashboards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

COLUMNS = 24
SCHEMA_VERSION = 39  # of the JSON: for Grafana 11 and newer
STEP_MIN = "1s"  # of SQL: QuestDB spells milliseconds in a way of its own


@dataclass(frozen=True, slots=True)
class Source:
    """A datasource, as ../provisioning/datasources names it."""

    kind: str
    uid: str

    def json(self) -> dict[str, str]:
        return {"type": self.kind, "uid": self.uid}


PROMETHEUS = Source("prometheus", "tickbay-prometheus")
TIMESCALE = Source("grafana-postgresql-datasource", "tickbay-timescale")
QUESTDB = Source("grafana-postgresql-datasource", "tickbay-questdb")


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL with a legend, or SQL. `series`: SQL whose first column is `time`; else a table."""

    text: str
    legend: str = ""
    series: bool = False
    instant: bool = False  # PromQL: the value of now only


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    help: str
    kind: Literal["timeseries", "stat", "table", "barchart", "xychart", "state-timeline", "bargauge"]
    queries: tuple[Query, ...]
    source: Source
    width: int = 12
    height: int = 8
    unit: str = "short"
    limits: tuple[float | None, float | None] = (None, None)
    steps: tuple[tuple[float | None, str], ...] = ()  # from which value on which colour
    options: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[tuple[str, dict[str, Any]], ...] = ()  # column → its properties
    transformations: tuple[dict[str, Any], ...] = ()
    colours: bool = False  # of a table's cells, by value


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of a dashboard, made of the first column that `query` gives."""

    name: str
    label: str
    query: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    uid: str
    title: str
    help: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = ()
    since: str = "now-1h"
    refresh: str = "30s"

    def json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.help,
            "tags": ["tickbay"],
            "timezone": "utc",
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "time": {"from": self.since, "to": "now"},
            "refresh": self.refresh,
            "templating": {"list": [_variable(variable) for variable in self.variables]},
            "panels": _placed(self.panels),
        }


def against(x: str, *ys: str) -> dict[str, Any]:
    """Options of an xychart: these columns, each over the column `x`."""

    def column(name: str) -> dict[str, Any]:
        return {"matcher": {"id": "byName", "options": name}}

    frame = {"matcher": {"id": "byIndex", "options": 0}}
    return {"mapping": "manual", "series": [{"frame": frame, "x": column(x), "y": column(y)} for y in ys]}


def matrix(*, row: str, column: str, value: str) -> dict[str, Any]:
    """A transformation: a table of `value` with a line for each `row` and a column for each `column`."""
    options = {"rowField": row, "columnField": column, "valueField": value, "emptyValue": "null"}
    return {"id": "groupingToMatrix", "options": options}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.label,
        "datasource": variable.source.json(),
        "query": one_line(variable.query),
        "definition": one_line(variable.query),
        "refresh": 2,  # whenever the time range changes
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "hide": 0,
    }


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Panels with their places: a new line begins where one does not fit any more."""
    placed, x, y, line = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > COLUMNS:
            x, y, line = 0, y + line, 0
        placed.append(_panel(panel, number) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}})
        x, line = x + panel.width, max(line, panel.height)
    return placed


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    low, high = panel.limits
    defaults: dict[str, Any] = {"unit": panel.unit, "custom": panel.custom}
    defaults |= {"min": low} if low is not None else {}
    defaults |= {"max": high} if high is not None else {}
    if panel.steps:
        steps = [{"value": value, "color": colour} for value, colour in panel.steps]
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "thresholds"}}
    if panel.colours:
        defaults["custom"] = panel.custom | {"cellOptions": {"type": "color-background", "mode": "gradient"}}
        defaults["color"] = {"mode": "continuous-BlYlRd"}
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": id, "value": value} for id, value in properties.items()],
        }
        for name, properties in panel.overrides
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        **({} if panel.source is PROMETHEUS else {"interval": STEP_MIN}),
        "datasource": panel.source.json(),
        "targets": [_target(query, panel.source, "ABCDEFGH"[place]) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": _options(panel),
        "transformations": list(panel.transformations),
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}} | panel.options
    if panel.kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "colorMode": "background", "graphMode": "none"} | panel.options
    return panel.options


def _target(query: Query, source: Source, letter: str) -> dict[str, Any]:
    target: dict[str, Any] = {"refId": letter, "datasource": source.json()}
    if source is PROMETHEUS:
        target |= {"expr": one_line(query.text), "legendFormat": query.legend or "__auto"}
        return target | ({"instant": True, "range": False, "format": "table"} if query.instant else {"range": True})
    shape = "time_series" if query.series else "table"
    return target | {"rawSql": query.text.strip(), "rawQuery": True, "editorMode": "code", "format": shape}


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
