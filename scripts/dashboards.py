"""Makes the dashboards that Grafana imports from config/grafana/dashboards.toml, where they are said in short.

python -m scripts.dashboards            writes config/grafana/*.json; a test fails where they are not what this writes
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

FOLDER: Final = Path(__file__).parents[1] / "config" / "grafana"
COLUMNS: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
OF_THESE: Final = 'job="$job", instance=~"$instance"'
"""What `#` stands for: the routers that the variables at the top of a dashboard name."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Panel(_Table):
    """`queries` are expressions with what their series are called."""

    title: str
    help: str
    unit: str
    queries: list[tuple[str, str]]
    stat: bool = False
    width: int = 8
    stacked: bool = False
    bad: float | None = None
    good: float | None = None

    @property
    def height(self) -> int:
        return 4 if self.stat else 8


class Row(_Table):
    title: str
    panels: list[Panel]


class Dashboard(_Table):
    name: str
    title: str
    help: str
    rows: list[Row]


class _File(_Table):
    dashboards: list[Dashboard]


def dashboards() -> list[Dashboard]:
    return _File.model_validate(tomllib.loads((FOLDER / "dashboards.toml").read_text("utf-8"))).dashboards


def document(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana 10 and later import it."""
    return {
        "uid": f"webhook-router-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.help,
        "tags": ["webhook-router"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["webhook-router"], "title": "webhook-router", "asDropdown": True}],
        "templating": {"list": list(_variables())},
        "panels": list(_panels(dashboard)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": DATASOURCE,
        "query": "label_values(webhook_router_build_info, job)",
        "refresh": 2,
    }
    yield {
        "name": "instance",
        "label": "Router",
        "type": "query",
        "datasource": DATASOURCE,
        "query": 'label_values(webhook_router_build_info{job="$job"}, instance)',
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in dashboard.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        y += 1
        x = 0
        for panel in row.panels:
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x += panel.width
        y += max(panel.height for panel in row.panels)


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {"tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.unit == "percentunit" and not panel.stat:
        defaults["max"] = 1
    if panel.stat:
        defaults["thresholds"] = {"mode": "absolute", "steps": _steps(panel)}
        options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    else:
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 8,
            "lineWidth": 1,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        options["legend"] = {"displayMode": "list", "placement": "bottom"}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": DATASOURCE,
                "expr": expression.replace("#", OF_THESE),
                "legendFormat": legend,
            }
            for position, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _steps(panel: Panel) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    if panel.good is not None:
        steps.append({"color": "green", "value": panel.good})
    return steps


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for dashboard in dashboards():
        (FOLDER / f"{dashboard.name}.json").write_text(text_of(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
