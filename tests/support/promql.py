"""Which metrics a PromQL expression asks for, and which there are. Touches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from router.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
OTHERS_OWN = {"up", "rabbitmq_queue_messages_ready", "rabbitmq_detailed_queue_messages_ready"}
"""Metrics of Prometheus itself and of RabbitMQ, which no router shows."""

_WORDS = {
    *("by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"),
    *("absent", "avg", "changes", "clamp_max", "clamp_min", "count", "delta", "deriv", "histogram_quantile"),
    *("increase", "label_replace", "max", "max_over_time", "min", "rate", "sum", "time", "topk", "vector"),
}
# A text, a selector's labels, a range, the labels of an aggregation or of a match: no metric is in them.
_NO_METRICS = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)'
)


def metrics_in(expression: str) -> set[str]:
    """The names that an expression asks for, recorded ones included."""
    names = re.findall(r"(?<![\w.$])[a-zA-Z_][\w:]*", _NO_METRICS.sub(" ", expression))
    return set(names) - _WORDS


def labels_in(expression: str) -> set[str]:
    """The labels that an expression selects or groups by."""
    selected = (name for part in re.findall(r"\{([^}]*)\}", expression) for name in re.findall(r"(\w+)\s*[=!]", part))
    grouped = (
        name
        for part in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
        for name in re.findall(r"\w+", part)
    )
    return {*selected, *grouped}


def exposed() -> dict[str, set[str]]:
    """Every series that a router shows, with the labels that it can have."""
    found: dict[str, set[str]] = {}
    for family in Metrics("1").registry.collect():
        labels = set(_labels_of(family.name))
        if family.type == "histogram":
            found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
            found[f"{family.name}_bucket"] = {*labels, "le"}
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


def _labels_of(name: str) -> tuple[str, ...]:
    if name == "webhook_router_build_info":
        return ("version",)
    return next((tuple(m._labelnames) for m in vars(Metrics("1")).values() if getattr(m, "_name", "") == name), ())


def rules() -> Iterator[dict[str, Any]]:
    """Every alert and every recorded rule of config/prometheus."""
    for file in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load((PROMETHEUS / file).read_text("utf-8"))["groups"]:
            yield from group["rules"]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}
