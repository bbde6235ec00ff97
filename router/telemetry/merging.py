"""Metrics of several processes as those of one: what counts adds up, also over the end of a process; a gauge follows
the rule that it was declared with. Touches nothing.

`prometheus_client` has a mode for several processes: files that are mapped into memory, one set for each process that
ever was, and gauges that lose their labels' meaning. Here each process hands its samples over instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

Labels = tuple[tuple[str, str], ...]
_COUNTING: Final = frozenset({"counter", "histogram"})


class Across(Enum):
    """What the values of a gauge in several processes are together."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"

    def of(self, one: float, other: float) -> float:
        match self:
            case Across.SUM:
                return one + other
            case Across.MAX:
                return max(one, other)
            case Across.MIN:
                return min(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric of one process, or of several: a value for each name of a sample and its labels."""

    name: str
    kind: str
    text: str
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        return self.kind in _COUNTING


def families(collector: Collector) -> list[Family]:
    """What a registry holds now."""
    return [
        Family(
            name=metric.name,
            kind=metric.type,
            text=metric.documentation,
            values={(sample.name, tuple(sample.labels.items())): sample.value for sample in metric.samples},
        )
        for metric in collector.collect()
    ]


def merge(contributions: Iterable[Iterable[Family]], across: Mapping[str, Across]) -> list[Family]:
    """One family for each name, in the order in which they first come."""
    merged: dict[str, Family] = {}
    for family in (family for contribution in contributions for family in contribution):
        whole = merged.setdefault(family.name, Family(name=family.name, kind=family.kind, text=family.text))
        for key, value in family.values.items():
            rule = _rule(family, key[0], across)
            whole.values[key] = rule.of(whole.values[key], value) if key in whole.values else value
    return list(merged.values())


def _rule(family: Family, sample: str, across: Mapping[str, Across]) -> Across:
    if family.counts:
        # Since when it counts: since the first of them does.
        return Across.MIN if sample.endswith("_created") else Across.SUM
    return across.get(family.name, Across.MAX)


class Together(Collector):
    """What `/metrics` shows for several processes: those that run, and what those that ended had counted."""

    def __init__(
        self, own: Collector, others: Callable[[], Iterable[Iterable[Family]]], across: Mapping[str, Across]
    ) -> None:
        self._own = own
        self._others = others
        self._across = across
        self._ended: list[Family] = []

    def keep_counts(self, last: Iterable[Family]) -> None:
        """A process has ended, and `last` is what it said last: its counters must not fall out of the sum."""
        self._ended = merge([self._ended, [family for family in last if family.counts]], self._across)

    def collect(self) -> Iterator[Metric]:
        for family in merge([families(self._own), self._ended, *self._others()], self._across):
            metric = Metric(family.name, family.text, family.kind)
            metric.samples = [Sample(name, dict(labels), value) for (name, labels), value in family.values.items()]
            yield metric
