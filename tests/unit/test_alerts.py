"""Alerts ask for metrics that there are, have a runbook section each, and are tried by a file of their own."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.promql import OTHERS_OWN, PROMETHEUS, ROOT, exposed, labels_in, metrics_in, recorded, rules

ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## (WebhookRouter\w+)$(.*?)(?=^## |\Z)", RUNBOOK))
SCRAPED = {"job", "instance", "queue", "le"}
"""Labels that do not come from a router."""


@pytest.mark.parametrize(
    ("expression", "metrics"),
    [
        ('sum by (job, le) (rate(a_bucket{type="call", x=~"y|z"}[5m]))', {"a_bucket"}),
        ("absent(up) or on (job) max(level:metric:p95_5m) > 1.5", {"up", "level:metric:p95_5m"}),
        ("histogram_quantile(0.95, sum(rate(a[$__rate_interval])) by (le)) / b", {"a", "b"}),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, metrics: set[str]) -> None:
    assert metrics_in(expression) == metrics


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    there = exposed()
    asked = metrics_in(rule["expr"])
    assert asked
    assert asked - there.keys() - recorded() - OTHERS_OWN == set()
    if asked <= there.keys():
        assert labels_in(rule["expr"]) - SCRAPED <= {label for metric in asked for label in there[metric]}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_leads_to_its_section(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    section = SECTIONS[name]
    assert section.strip().startswith(f"{alert['labels']['severity']}: ")
    assert alert.get("for") is None or f", for {alert['for']}." in section
    assert re.search(r"(?ms)^\*\*Look at\*\*\n\n- .*^\*\*Do\*\*\n\n- ", section)


def test_every_section_of_the_runbook_is_of_an_alert() -> None:
    assert list(SECTIONS) == list(ALERTS)


def test_every_alert_is_tried_where_it_fires_and_where_it_must_not() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
    tried = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]
    assert sorted(tried) == sorted((name, fires) for name in ALERTS for fires in (True, False))


def test_every_recorded_rule_is_asked_for() -> None:
    dashboards = "".join(path.read_text("utf-8") for path in (ROOT / "config" / "grafana").glob("*.json"))
    asked = {name for alert in ALERTS.values() for name in metrics_in(alert["expr"])}
    assert [name for name in recorded() if name not in asked and name not in dashboards] == []
