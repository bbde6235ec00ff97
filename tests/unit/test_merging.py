"""Metrics of several processes as one: what adds up, what does not, and what the end of a process leaves behind."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from router.telemetry.merging import Across, Family, Together, families, merge
from router.telemetry.metrics import ACROSS, Metrics


def shown(together: Together) -> dict[str, float]:
    """What is scraped, by sample with its labels."""
    lines = generate_latest(together).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def worker(*, delivered: int = 0, in_flight: int = 0, alive: bool = True, lag: float = 0.0) -> list[Family]:
    metrics = Metrics("1")
    metrics.deliveries.labels("delivered").inc(delivered)
    for _ in range(delivered):
        metrics.attempt_duration.observe(0.02)
    metrics.in_flight.set(in_flight)
    metrics.consumer_alive.labels("cdr").set(alive)
    metrics.event_loop_lag.set(lag)
    return families(metrics.registry)


DELIVERED = 'webhook_router_deliveries_total{status="delivered"}'


def test_counters_and_histograms_add_up_and_gauges_follow_their_rule() -> None:
    workers = [worker(delivered=3, in_flight=2, lag=0.5), worker(delivered=4, in_flight=1, alive=False, lag=0.1)]

    seen = shown(Together(Metrics("1").registry, lambda: workers, ACROSS))

    assert seen[DELIVERED] == 7
    assert seen["webhook_router_attempt_duration_seconds_count"] == 7
    assert seen['webhook_router_attempt_duration_seconds_bucket{le="0.025"}'] == 7
    assert seen['webhook_router_attempt_duration_seconds_bucket{le="0.01"}'] == 0
    assert seen["webhook_router_in_flight"] == 3
    assert seen['webhook_router_consumer_alive{source="cdr"}'] == 0
    assert seen["webhook_router_event_loop_lag_seconds"] == 0.5
    assert seen['webhook_router_build_info{version="1"}'] == 1


def test_what_a_process_had_counted_stays_in_the_sum_when_it_has_ended() -> None:
    workers = [worker(delivered=3, in_flight=2), worker(delivered=4)]
    together = Together(Metrics("1").registry, lambda: workers, ACROSS)

    for _ in range(2):
        together.keep_counts(workers.pop(0))
        workers.append(worker(delivered=1))
    seen = shown(together)

    assert seen[DELIVERED] == 9
    assert seen["webhook_router_attempt_duration_seconds_count"] == 9
    assert seen["webhook_router_in_flight"] == 0


def test_a_counter_of_several_processes_never_falls() -> None:
    workers = [worker(delivered=5)]
    together = Together(Metrics("1").registry, lambda: workers, ACROSS)
    before = shown(together)

    together.keep_counts(workers.pop())

    after = shown(together)
    counters = [name for name in before if "_total" in name or "_bucket" in name or name.endswith(("_count", "_sum"))]
    assert [name for name in counters if after[name] < before[name]] == []


def test_it_counts_since_the_first_of_them_does() -> None:
    since = [Family(name="n", kind="counter", text="", values={("n_created", ()): moment}) for moment in (20.0, 10.0)]

    (merged,) = merge([[each] for each in since], {})

    assert merged.values == {("n_created", ()): 10.0}


@pytest.mark.parametrize(("rule", "result"), [(Across.SUM, 5), (Across.MAX, 3), (Across.MIN, 2)])
def test_rules(rule: Across, result: float) -> None:
    assert rule.of(2, 3) == rule.of(3, 2) == result


def test_every_gauge_has_its_rule_and_every_rule_its_gauge() -> None:
    gauges = {family.name for family in families(Metrics("1").registry) if not family.counts}

    assert gauges == set(ACROSS)
