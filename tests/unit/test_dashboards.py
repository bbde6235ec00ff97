"""The dashboards ask for metrics that there are, in the unit that these have, and Grafana can tell them apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from scripts.dashboards import COLUMNS, FOLDER, dashboards, text_of
from tests.support.promql import exposed, labels_in, metrics_in

FILES = sorted(FOLDER.glob("*.json"))
DOCUMENTS: dict[Path, dict[str, Any]] = {file: json.loads(file.read_text("utf-8")) for file in FILES}
OF_PROMETHEUS = {"job", "instance", "le"}

documents = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=[file.stem for file in FILES])


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets() -> Iterator[tuple[str, str, str]]:
    """Title, unit and expression of every query."""
    for panel in chain.from_iterable(map(panels, DOCUMENTS.values())):
        for target in panel["targets"]:
            yield panel["title"], panel["fieldConfig"]["defaults"]["unit"], target["expr"]


def test_the_files_are_what_the_script_writes() -> None:
    assert {file.name: file.read_text("utf-8") for file in FILES} == {
        f"{dashboard.name}.json": text_of(dashboard) for dashboard in dashboards()
    }, "python -m scripts.dashboards"


@pytest.mark.parametrize(("title", "unit", "expression"), list(targets()))
def test_a_query_asks_for_what_a_router_shows(title: str, unit: str, expression: str) -> None:
    there = exposed()
    asked = metrics_in(expression)
    assert asked
    assert asked <= there.keys()
    assert labels_in(expression) - OF_PROMETHEUS <= {label for metric in asked for label in there[metric]}
    # All of a dashboard is about the same routers.
    selectors = len(re.findall(r"\b(?:webhook_router|process)_\w+", expression))
    assert expression.count('job="$job", instance=~"$instance"') == selectors


@pytest.mark.parametrize(("title", "unit", "expression"), list(targets()))
def test_a_panel_has_the_unit_of_its_metric(title: str, unit: str, expression: str) -> None:
    (metric, *_) = sorted(metrics_in(expression))
    is_share = " / " in expression or expression.startswith("avg ") or "cpu_seconds" in metric
    if is_share:
        assert unit == "percentunit"
    elif "rate(" in expression and "histogram_quantile" not in expression:
        # In a panel of plain counts the legend says that it is a rate.
        assert unit in {"ops", "short"}
    elif "_seconds" in metric:
        assert unit == "s"
    elif metric.endswith("_bytes"):
        assert unit == "bytes"
    else:
        assert unit == "short"


def test_a_rate_among_counts_says_so() -> None:
    for panel in chain.from_iterable(map(panels, DOCUMENTS.values())):
        if panel["fieldConfig"]["defaults"]["unit"] == "short":
            rates = [target for target in panel["targets"] if "rate(" in target["expr"]]
            assert [target for target in rates if not target["legendFormat"].endswith(", each second")] == []


def test_dashboards_can_be_told_apart() -> None:
    names = [(document["uid"], document["title"]) for document in DOCUMENTS.values()]
    assert len({uid for uid, _ in names}) == len({title for _, title in names}) == len(names) == 3
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid, _ in names)  # 40 is Grafana's


@documents
def test_panels_have_numbers_of_their_own_and_do_not_overlap(document: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= COLUMNS
        taken |= cells


@documents
def test_the_data_source_is_the_readers_choice(document: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in document["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    sources = [panel["datasource"] for panel in panels(document)]
    sources += [target["datasource"] for panel in panels(document) for target in panel["targets"]]
    sources += [variables["job"]["datasource"], variables["instance"]["datasource"]]
    assert {json.dumps(source) for source in sources} == {'{"type": "prometheus", "uid": "${datasource}"}'}


@documents
def test_every_panel_is_explained(document: dict[str, Any]) -> None:
    assert document["description"]
    assert [panel["title"] for panel in panels(document) if not panel["description"].endswith(".")] == []


def test_every_metric_of_ours_is_on_a_dashboard() -> None:
    asked = set().union(*(metrics_in(expression) for _, _, expression in targets()))
    forgotten = {re.sub(r"_(sum|count|bucket)$", "", name) for name in exposed() if name.startswith("webhook_router_")}
    assert forgotten - {re.sub(r"_(sum|count|bucket)$", "", name) for name in asked} == set()
