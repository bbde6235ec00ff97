"""What the measurements compute, and how the thousand customers are laid out."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench import endpoints
from bench.__main__ import MEASUREMENTS, QUICK, read_options, report
from bench.claims import stages
from bench.endpoints import Kind
from bench.isolation import RATE, expected_receipts, isolation_report, memory, p95_ratio, percentiles, runs
from bench.load import body_of
from bench.memory import growth
from bench.page import command_of, filled
from bench.profile import ROWS, profile_report
from bench.profiled import LOOP, part_at, part_of
from bench.samples import Sample, after, cpu_seconds, family, family_mib, mib_per_minute, resident_mib
from bench.seeds import made
from bench.tables import ratios, table
from router.adapters.mongo.documents import read_claim, read_delivery
from router.domain.delivery import DeliveryStatus


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


# --- growth ----------------------------------------------------------------------------------------


COSTS = {"events_per_second": 400.0, "cpu_us_per_delivery": 300.0, "store_cpu_us_per_delivery": 2_000.0}
LATENCIES = {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0}
CLAIM = {
    "claimed": 50, "p50_ms": 8.0, "p95_ms": 9.0, "cpu_ms": 4.0, "store_cpu_ms": 5.0,
    "commands": {"find": 3, "update": 1}, "stages": ["LIMIT", "FETCH", "IXSCAN"],
    "keys_examined": 100, "documents_examined": 100,
}  # fmt: skip
WAITING = {
    **COSTS, "claim": CLAIM, "resident_mib": 88.0, "idle_percent": 0.0, "ready_seconds": 1.2,
    "store_mib": 0.0, "p95_ms": 9.0,
}  # fmt: skip
DRAINED = {**COSTS, "seconds": 10.0, "most_mib": 100.0}
FIGURES: dict[str, Any] = {
    "throughput": {"bare": COSTS, "router": COSTS, "cpu_ratio": 1.94, "bridge_cpu_ratio": None},
    "latency": {"200": {"bare": LATENCIES | COSTS, "router": LATENCIES | COSTS | {"p95_ms": 9.0}}},
    "workers": {count: {**COSTS, "p95_ms": 9.0, "resident_mib": mib} for count, mib in (("1", 90.0), ("2", 270.0))},
    "backlog": {"events": 20_000, "drained": {"bare": DRAINED, "router": DRAINED | {"seconds": 80.0}}},
    "pending": {"0": WAITING, "1000": WAITING, "100000": WAITING | {"claim": CLAIM | {"p50_ms": 8.4}}},
    "due": {"100": CLAIM, "10000": CLAIM | {"p50_ms": 80.0, "documents_examined": 10_000}},
    "definitions": {
        "webhooks": {"100000": {"cpu_us_per_delivery": 260.0, "ready_seconds": 9.0, "resident_mib": 200.0}},
        "spread_percent": 7.7,
    },
    "fan-out": {
        "1": {**COSTS, "deliveries_per_second": 400.0, "cpu_us_per_event": 300.0},
        "50": {**COSTS, "cpu_us_per_delivery": 150.0, "deliveries_per_second": 600.0, "cpu_us_per_event": 7_500.0},
    },
    "body": {
        size: {name: {**COSTS, "mb_per_second": 4.0, "p95_ms": 5.0} for name in ("bare", "router")}
        for size in ("1024", "102400")
    },
    "idle": {"resident_mib": 88.0, "cpu_percent": 0.3},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("throughput", "router / bare × 1.94"),
        ("latency", "200/s router 1.0 9.0 3.0 × 4.50 300"),
        ("workers", "2 / 1 × 1.00 × 1.00 × 1.00 × 1.00 × 3.00"),
        ("backlog", "router / bare × 8.00 × 1.00 × 1.00"),
        ("pending", "100,000 wait 8.4 9.0 4.0 5.0 4 100 100 IXSCAN"),
        ("pending", "100,000 / 1,000 × 1.05 × 1.00 × 1.00 × 1.00"),
        ("due", "10,000 / 100 × 10.00 × 1.00 × 1.00 × 1.00"),
        ("definitions", "100,000 of others 260 9.0 200.0"),
        ("fan-out", "50 webhooks 400.0 150 2,000 600 7,500 × 0.50"),
        ("body", "100 / 1 KiB router × 1.00 × 1.00"),
        ("idle", "router 88.0 0.30"),
    ],
)
def test_report_has_a_row_for_each_figure(name: str, row: str) -> None:
    lines = [" ".join(line.split()) for line in report({"machine": "2 cores", name: FIGURES[name]}).splitlines()]
    assert row in lines


def test_a_table_takes_the_place_of_the_one_before_on_the_page() -> None:
    page = "# Speed\n\n<!-- bench:idle -->\nold\n<!-- /bench -->\n\nEnd.\n<!-- bench:body -->\nkept\n<!-- /bench -->\n"
    written = filled(page, {"idle": [r"  row \1"], "reader": ["none"]}, command="make bench", machine="2 cores")
    block = "<!-- bench:idle -->\n`make bench`, 2 cores:\n\n```text\n  row \\1\n```\n<!-- /bench -->"
    assert written == page.replace("<!-- bench:idle -->\nold\n<!-- /bench -->", block)
    assert filled(written, {"idle": [r"  row \1"]}, command="make bench", machine="2 cores") == written


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "make bench"),
        (["--write", "docs/performance.md"], "make bench"),
        (["--only", "body", "--write", "p.md", "--events", "9"], 'make bench ARGS="--only body --events 9"'),
        (["--write=p.md", "--quick"], 'make bench ARGS="--quick"'),
    ],
)
def test_the_page_tells_the_command_and_not_where_it_wrote(arguments: list[str], command: str) -> None:
    assert command_of(arguments) == command


def test_what_was_not_measured_is_not_in_the_report() -> None:
    assert report({"machine": "2 cores"}).splitlines() == ["machine: 2 cores"]


def test_columns_are_aligned_and_blank_where_there_is_no_figure() -> None:
    columns = (("events/s", "events", 0), ("ms", "ms", 1))
    assert table("load", columns, {"bare": {"events": 4_000.4, "ms": 0.25}, "router": {"ms": None}, "none": {}}) == [
        "load                     events/s    ms",
        "  bare                      4,000   0.2",
        "  router                              –",
        "  none",
    ]


def test_ratio_of_what_is_too_small_to_measure_is_unknown() -> None:
    assert ratios({"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 0.0}, "a", "b") == {"a": "× 1.50", "b": "–"}
    assert ratios({"a": 9_000.0}, {"a": 2.0}, "a") == {"a": "× 4,500"}


@pytest.mark.parametrize(("size", "length"), [(0, 860), (1_024, 1_024), (102_400, 102_400)])
def test_a_body_has_the_size_that_was_asked_for(size: int, length: int) -> None:
    body = body_of("evt_1", "bench", 1, "+33199001234", size)
    assert json.loads(body)["data"]["legs"]
    assert abs(len(body) - length) < (60 if size == 0 else 1)


def test_memory_per_delivery_leaves_out_what_was_free_before() -> None:
    published = [0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000]
    mib = [100.0, 100.0, 102.0, 104.0, 106.0, 106.5, 106.5, 106.5, 106.5]
    steps = [
        {"published": count, "held": min(count, 4_096), "resident_mib": each}
        for count, each in zip(published, mib, strict=True)
    ]
    assert growth(steps) == {"kib_per_held": 2.05, "kib_per_stored": 0}


def test_a_seeded_delivery_is_one_that_the_router_reads() -> None:
    due_at = datetime.now(UTC) + timedelta(hours=3)
    event, document = made("later-7", 7, due_at)
    delivery = read_delivery(document)
    assert (delivery.status, delivery.attempt_count, delivery.next_attempt_at) == (DeliveryStatus.PENDING, 1, due_at)
    claim = read_claim(document, event)
    assert (claim.fence, claim.event_key, claim.payload) == (1, event["_id"], event["payload"])


def test_the_stages_of_a_plan_are_named_from_the_outermost_in() -> None:
    plan = {"stage": "LIMIT", "inputStage": {"stage": "FETCH", "inputStage": {"stage": "IXSCAN"}}}
    assert stages(plan) == ["LIMIT", "FETCH", "IXSCAN"]
    assert stages(None) == []


def test_a_process_counts_with_its_children() -> None:
    assert family(os.getpid())[0] == os.getpid()
    assert cpu_seconds(os.getpid()) > 0
    assert family_mib(os.getpid()) >= resident_mib(os.getpid()) * 0.9


def test_quick_is_small_unless_told_otherwise() -> None:
    options = read_options(["--quick", "--events", "40", "--only", "body"])
    assert (options.events, options.rounds, options.only) == (40, QUICK["rounds"], ["body"])


def test_each_measurement_says_what_it_measures() -> None:
    assert all((measure.__doc__ or "").endswith(".") for measure, _ in MEASUREMENTS.values())


# --- the profile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("/x/router/adapters/rabbitmq/codec.py", "decode"),
        ("/x/router/adapters/rabbitmq/consumer.py", "broker"),
        ("/x/site-packages/bson/__init__.py", "store"),
        ("/usr/lib/python3.11/hmac.py", "signature"),
        ("/x/router/telemetry/log.py", "log"),
        ("/x/router/telemetry/metrics.py", "metrics"),
        ("/x/router/application/lanes.py", "routing, lanes"),
        ("/usr/lib/python3.11/asyncio/tasks.py", None),
    ],
)
def test_a_file_belongs_to_the_part_that_the_profile_shows_it_in(file: str, part: str | None) -> None:
    assert part_of(file) == part


def test_what_the_library_of_the_loop_does_for_a_part_is_that_parts() -> None:
    assert part_at(sys._getframe()) == LOOP
    assert part_at(None) == LOOP


def test_the_profile_shows_each_part_and_its_share() -> None:
    spent = {"bare": dict.fromkeys(ROWS, 0.0), "router": {**dict.fromkeys(ROWS, 0.0), "log": 10.0, "HTTP": 30.0}}
    lines = profile_report({"events": 1, "us_per_delivery": spent})
    assert next(line for line in lines if line.startswith("  log")).split() == ["log", "0", "10", "25", "%"]
    assert lines[-1].split() == ["all", "0", "40"]
