"""The simulation beside what was measured: the bench's own configuration, run in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.simulation.costs import Costs
from bench.simulation.scenario import Scenario, run

SEED: Final = 1
_LATENCY_SECONDS: Final = 8.0
"""Of steady load in `make bench`, after which a backlog is still waited for."""
_ISOLATION_SECONDS: Final = 100.0
_FIRST_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    what: str
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        return self.simulated / self.measured


def compare(costs: Costs) -> Sequence[Comparison]:
    measured = costs.measured
    figures = {"events_per_second": _throughput(costs), **_latencies(costs), **_isolation(costs)}
    names = {
        "events_per_second": "events a second, at most",
        **{
            f"p{percent}_at_{rate}": f"{rate} a second, p{percent} in ms"
            for rate in (50, 200, 500)
            for percent in (50, 95)
        },
        "p95_all_healthy": "200 a second to 1,000 customers, p95 in ms",
        "p95_half_bad": "the same, half of them bad, after the first minute",
        "ratio_half_bad": "half of them bad / all healthy",
    }
    return [Comparison(what=names[name], measured=measured[name], simulated=figures[name]) for name in names]


def _bench(costs: Costs, **changes: Any) -> Scenario:
    """One worker, the embedded store, a receiver that answers at once, events at even distances."""
    scenario: dict[str, Any] = {
        "workers": 1,
        "webhooks": 1,
        "answer_seconds": 0.0,
        "is_poisson": False,
        "warm_up_seconds": 0.0,
        "seconds": _LATENCY_SECONDS,
        "drain_seconds": 60.0,
        "seed": SEED,
    }
    return Scenario(costs=costs, store=costs.stores["embedded"], **{**scenario, **changes})


def _throughput(costs: Costs) -> float:
    rate = 1000.0
    report = run(_bench(costs, rate=rate, seconds=3.0))
    return report.published / (3.0 + (report.drained_after or 0.0))


def _latencies(costs: Costs) -> dict[str, float]:
    reports = {rate: run(_bench(costs, rate=float(rate))) for rate in (50, 200, 500)}
    return {
        f"p{percent}_at_{rate}": report.wait(percent) * 1000 for rate, report in reports.items() for percent in (50, 95)
    }


def _isolation(costs: Costs) -> dict[str, float]:
    healthy, half_bad = (
        run(
            _bench(
                costs,
                rate=200.0,
                webhooks=1000,
                zipf=0.0,
                bad_share=bad_share,
                seconds=_ISOLATION_SECONDS,
                warm_up_seconds=_FIRST_MINUTE,
                drain_seconds=1.0,
            )
        ).wait(95)
        for bad_share in (0.0, 0.5)
    )
    return {
        "p95_all_healthy": healthy * 1000,
        "p95_half_bad": half_bad * 1000,
        "ratio_half_bad": half_bad / healthy,
    }
