"""What the measurements compute, and how the thousand customers are laid out."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from bench import endpoints
from bench.endpoints import Kind
from bench.isolation import RATE, expected_receipts, isolation_report, memory, p95_ratio, percentiles, runs
from bench.samples import Sample, after, mib_per_minute


def samples(*mib: float, descriptors: int = 40) -> list[Sample]:
    """One a second."""
    return [Sample(at=100.0 + second, resident_mib=each, descriptors=descriptors) for second, each in enumerate(mib)]


def test_bad_endpoints_are_as_many_as_promised() -> None:
    kinds = Counter(endpoints.kind_of(each) for each in range(endpoints.COUNT))
    assert kinds == {Kind.HEALTHY: 500, Kind.UNREACHABLE: 150, Kind.SILENT: 150, Kind.SLOW: 100, Kind.RESETTING: 100}


def test_each_endpoint_has_an_address_of_its_own() -> None:
    assert len({endpoints.host_of(each) for each in range(endpoints.COUNT)}) == endpoints.COUNT


def test_a_tracking_number_reaches_one_endpoint_of_its_account() -> None:
    numbers = defaultdict(set)
    for each in range(endpoints.COUNT):
        numbers[endpoints.account_of(each)].add(endpoints.number_of(each))
    assert len(numbers) == 200
    assert {len(each) for each in numbers.values()} == {endpoints.PER_ACCOUNT}


@pytest.mark.parametrize("count", [0, 1, 7, 1_000, 1_001, 13_000, 13_007])
def test_expected_receipts_are_those_at_healthy_endpoints(count: int) -> None:
    alone, all_healthy, half_bad = runs(RATE)
    assert expected_receipts(alone, count) == expected_receipts(all_healthy, count) == count
    turns = [endpoints.kind_of(number % endpoints.COUNT) for number in range(count)]
    assert expected_receipts(half_bad, count) == turns.count(Kind.HEALTHY)


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([float(each) for each in range(1, 101)]) == {"p50_ms": 51, "p95_ms": 96, "p99_ms": 100}
    assert percentiles([4.0]) == {"p50_ms": 4, "p95_ms": 4, "p99_ms": 4}
    assert percentiles([]) == {"p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_slope_is_that_of_the_line_through_the_samples() -> None:
    assert mib_per_minute(samples(*(90 + 0.1 * second for second in range(50)))) == pytest.approx(6)
    assert mib_per_minute(samples(90, 90, 90)) == 0
    assert mib_per_minute(samples(90)) is None


def test_growth_of_the_first_seconds_is_not_counted() -> None:
    grown = memory(samples(*range(60, 80), *[90.0] * 30))
    assert (grown["mib_per_minute"], grown["least_mib"], grown["most_mib"]) == (0, 90, 90)
    assert len(after(samples(1, 2, 3), 1)) == 2


def test_ratio_is_unknown_while_receipts_are_missing() -> None:
    good, bad = {"p95_ms": 10.0, "not_received": 0}, {"p95_ms": 15.0, "not_received": 0}
    assert p95_ratio(bad, good) == 1.5
    assert p95_ratio({**bad, "not_received": 1}, good) is None
    assert p95_ratio({**bad, "p95_ms": None}, good) is None


def test_report_says_what_is_unknown() -> None:
    figures = {"rate": 200, **percentiles([]), **memory(samples(90)), "not_received": 3, "learning": percentiles([7.0])}
    part = {"endpoints": 1_000, "rate": 200, "seconds": 30.0, "runs": {"half of them bad": figures}, "p95_ratio": None}
    report = isolation_report(part)
    assert "3 not received" in report[1]
    assert "p95       – ms" in report[1]
    assert "first minute: p50     7.0 ms" in report[2]
    assert "90.0 to 90.0 MiB, – MiB per minute" in report[3]
