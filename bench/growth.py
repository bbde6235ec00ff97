"""How the cost of a delivery grows: with definitions, worker processes, webhooks per event and the size of a body.
Touches processes."""

from __future__ import annotations

import asyncio
import statistics

from bench.harness import Bench, fresh_store, on_fresh_store, router, say
from bench.measure import Figures, contenders, medians, prepare, run_load
from bench.samples import family_mib, resident_mib
from bench.tables import ratio, ratios, table, times

WARM_UP = 500
WORKERS = (1, 2)
WORKERS_RATE = 200
FAN_OUT = (1, 10, 50)
SIZES = (1_024, 102_400)
SIZES_RATE = 50
SECONDS = 10
COSTS = (
    ("events/s", "events_per_second", 1),
    ("µs CPU per delivery", "cpu_us_per_delivery", 0),
    ("of the store", "store_cpu_us_per_delivery", 0),
)
COST_NAMES = tuple(name for _, name, _ in COSTS)


# --- definitions -----------------------------------------------------------------------------------


async def definitions(bench: Bench) -> None:
    """The cost per event, the memory and the start with ever more webhooks of other accounts."""
    figures: dict[str, dict[str, float]] = {}
    for others in (1, 1_000, bench.options.definitions):
        async with fresh_store(bench) as fresh:
            await prepare(fresh, "bench_definitions", others=others)
            async with router(fresh, "bench_definitions") as ours:
                await asyncio.sleep(1)
                at_start = resident_mib(ours.pid)
                await run_load(fresh, ours.pid, "cdr", WARM_UP)
                costs = [
                    (await run_load(fresh, ours.pid, "cdr", bench.options.events))["cpu_us_per_delivery"]
                    for _ in range(bench.options.rounds)
                ]
        figures[str(others)] = {
            "cpu_us_per_delivery": statistics.median(costs),
            "ready_seconds": ours.ready_seconds,
            "resident_mib": round(at_start, 1),
        }
        say(f"  {others} webhooks of others: {costs} {figures[str(others)]}")
    costs = [each["cpu_us_per_delivery"] for each in figures.values()]
    bench.figures["definitions"] = {
        "webhooks": figures,
        "spread_percent": round((max(costs) / min(costs) - 1) * 100, 1),
    }


def definitions_report(part: Figures) -> list[str]:
    columns = (
        ("µs CPU per delivery", "cpu_us_per_delivery", 0),
        ("ready after s", "ready_seconds", 1),
        ("MiB", "resident_mib", 1),
    )
    rows = {f"{int(count):,} of others": at for count, at in part["webhooks"].items()}
    return table("definitions", columns, rows | {"spread": {"cpu_us_per_delivery": f"{part['spread_percent']} %"}})


# --- workers ---------------------------------------------------------------------------------------


async def workers(bench: Bench) -> None:
    """One and two worker processes: throughput, CPU and memory of all their processes, latency at a steady rate."""
    figures: dict[str, dict[str, float]] = {}
    for count in WORKERS:
        async with fresh_store(bench) as fresh:
            await prepare(fresh, "bench_workers")
            async with router(fresh, "bench_workers", "--workers", str(count)) as ours:
                await run_load(fresh, ours.pid, "cdr", WARM_UP)
                rounds = [
                    await run_load(fresh, ours.pid, "cdr", bench.options.events) for _ in range(bench.options.rounds)
                ]
                steady_count = int(WORKERS_RATE * (bench.options.seconds or SECONDS))
                steady = await run_load(fresh, ours.pid, "cdr", steady_count, WORKERS_RATE)
                figures[str(count)] = {
                    **medians(rounds, *COST_NAMES),
                    "p95_ms": steady["p95_ms"],
                    "resident_mib": round(family_mib(ours.pid), 1),
                }
        say(f"  {count} workers {figures[str(count)]}")
    bench.figures["workers"] = figures


def workers_report(part: Figures) -> list[str]:
    columns = (*COSTS, (f"p95 ms at {WORKERS_RATE}/s", "p95_ms", 1), ("MiB", "resident_mib", 0))
    one, two = part.values()
    quotients = ratios(two, one, *(name for _, name, _ in columns))
    return table("workers", columns, {**part, "2 / 1": quotients})


# --- fan-out ---------------------------------------------------------------------------------------


async def fan_out(bench: Bench) -> None:
    """One event for 1, 10 and 50 webhooks; as many deliveries each time."""
    figures: dict[str, dict[str, float]] = {}
    for copies in FAN_OUT:
        count = max(10, bench.options.events // copies)
        async with fresh_store(bench) as fresh:
            await prepare(fresh, "bench_fan_out", copies=copies)
            async with router(fresh, "bench_fan_out") as ours:
                await run_load(fresh, ours.pid, "cdr", max(1, WARM_UP // copies), copies=copies)
                rounds = [
                    await run_load(fresh, ours.pid, "cdr", count, copies=copies) for _ in range(bench.options.rounds)
                ]
        at = medians(rounds, *COST_NAMES)
        figures[str(copies)] = {
            **at,
            "deliveries_per_second": round(at["events_per_second"] * copies, 1),
            "cpu_us_per_event": round(at["cpu_us_per_delivery"] * copies, 1),
        }
        say(f"  {copies} webhooks {figures[str(copies)]}")
    bench.figures["fan-out"] = figures


def fan_out_report(part: Figures) -> list[str]:
    columns = (
        *COSTS,
        ("deliveries/s", "deliveries_per_second", 0),
        ("µs CPU per event", "cpu_us_per_event", 0),
        ("beside 1", "beside", 0),
    )
    least = part[str(FAN_OUT[0])]["cpu_us_per_delivery"]
    rows = {
        f"{copies} webhooks": {**at, "beside": times(ratio(at["cpu_us_per_delivery"], least))}
        for copies, at in part.items()
    }
    return table("fan-out", columns, rows)


# --- body ------------------------------------------------------------------------------------------


@on_fresh_store
async def body(bench: Bench) -> None:
    """Bodies of 1 KiB and of 100 KiB, the bare loop, the bare bridge and the router in turns."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    async with contenders(bench, "bench_body") as found:
        for size in SIZES:
            for name, (pid, exchange) in found.items():
                figures.setdefault(str(size), {})[name] = measured = await _with_size(bench, pid, exchange, size)
                say(f"  {size} bytes {name:7} {measured}")
    bench.figures["body"] = figures


async def _with_size(bench: Bench, pid: int, exchange: str, size: int) -> dict[str, float]:
    # A tenth of the events where they are a hundred times as large.
    count = max(20, bench.options.events // (1 if size == SIZES[0] else 10))
    steady_count = max(20, int(SIZES_RATE * (bench.options.seconds or SECONDS)))
    await run_load(bench, pid, exchange, max(2, count // 10), size=size)
    rounds = [await run_load(bench, pid, exchange, count, size=size) for _ in range(bench.options.rounds)]
    steady = await run_load(bench, pid, exchange, steady_count, SIZES_RATE, size=size)
    at = medians(rounds, *COST_NAMES)
    return {**at, "mb_per_second": round(at["events_per_second"] * size / 1e6, 1), "p95_ms": steady["p95_ms"]}


def body_report(part: Figures) -> list[str]:
    columns = (
        *COSTS,
        ("MB/s", "mb_per_second", 1),
        (f"p95 ms at {SIZES_RATE}/s", "p95_ms", 1),
        ("CPU / bare", "beside", 0),
    )
    rows = {
        f"{int(size) // 1024} KiB {name}": at
        | {"beside": times(ratio(at["cpu_us_per_delivery"], each["bare"]["cpu_us_per_delivery"]))}
        for size, each in part.items()
        for name, at in each.items()
    }
    small, large = part.values()
    rows |= {f"100 / 1 KiB {name}": ratios(large[name], small[name], *COST_NAMES[:2]) for name in small}
    return table("body", columns, rows)
