"""The router beside the bare loop and the bare bridge: CPU, events per second, latencies; and what it costs idle.
Touches processes."""

from __future__ import annotations

import asyncio
import time

from bench.harness import Bench, on_fresh_store, router, say
from bench.measure import Figures, contenders, medians, prepare, run_load
from bench.samples import cpu_seconds, resident_mib
from bench.tables import ratio, table, times

RATES = (50, 200, 500)
SECONDS = 10
WARM_UP = 500
"""Events that are not measured: connections, caches and prefetch are warm after them."""
IDLE_SECONDS = 20
QUICK_IDLE_SECONDS = 2


@on_fresh_store
async def throughput(bench: Bench) -> None:
    """The bare loop, the bare bridge and the router in turns; the median of the rounds."""
    rounds: dict[str, list[dict[str, float]]] = {}
    async with contenders(bench, "bench_throughput") as found:
        for pid, exchange in found.values():
            await run_load(bench, pid, exchange, WARM_UP)
        for number in range(bench.options.rounds):
            for name, (pid, exchange) in found.items():
                figures = await run_load(bench, pid, exchange, bench.options.events)
                rounds.setdefault(name, []).append(figures)
                say(f"  round {number + 1} {name:7} {figures}")
    result = {name: medians(each, "events_per_second", "cpu_us_per_delivery") for name, each in rounds.items()}
    costs = {name: each["cpu_us_per_delivery"] for name, each in result.items()}
    bench.figures["throughput"] = {
        **result,
        "cpu_ratio": ratio(costs["router"], costs["bare"]),
        "bridge_cpu_ratio": ratio(costs["router"], costs["bridge"]) if "bridge" in costs else None,
    }


def throughput_report(part: Figures) -> list[str]:
    columns = (("events/s", "events_per_second", 0), ("µs CPU per delivery", "cpu_us_per_delivery", 0))
    rows: dict[str, Figures] = {name: part[name] for name in ("bare", "bridge", "router") if name in part}
    quotients = {"router / bare": {"cpu_us_per_delivery": times(part["cpu_ratio"])}}
    if "bridge" in part:
        quotients["router / bridge"] = {"cpu_us_per_delivery": times(part["bridge_cpu_ratio"])}
    return table("throughput", columns, rows | quotients)


@on_fresh_store
async def latency(bench: Bench) -> None:
    """From publish to receipt at steady rates, in turns."""
    figures: Figures = {}
    async with contenders(bench, "bench_latency") as found:
        for pid, exchange in found.values():
            await run_load(bench, pid, exchange, 200)
        for rate in RATES:
            count = int(rate * (bench.options.seconds or SECONDS))
            for name, (pid, exchange) in found.items():
                figures.setdefault(str(rate), {})[name] = measured = await run_load(bench, pid, exchange, count, rate)
                say(f"  {rate}/s {name:7} {measured}")
    bench.figures["latency"] = figures


def latency_report(part: Figures) -> list[str]:
    columns = (
        *((f"p{percent} ms", f"p{percent}_ms", 1) for percent in (50, 95, 99)),
        ("p95 / bare", "beside", 0),
        ("µs CPU per delivery", "cpu_us_per_delivery", 0),
    )
    rows = {
        f"{rate}/s {name}": at
        | ({} if name == "bare" else {"beside": times(ratio(at["p95_ms"], each["bare"]["p95_ms"]))})
        for rate, each in part.items()
        for name, at in each.items()
    }
    return table("latency", columns, rows)


@on_fresh_store
async def idle(bench: Bench) -> None:
    """Memory and CPU of a router that has nothing to do."""
    await prepare(bench, "bench_idle")
    async with router(bench, "bench_idle") as ours:
        await asyncio.sleep(3)
        bench.figures["idle"] = {
            "resident_mib": round(resident_mib(ours.pid), 1),
            "cpu_percent": await idle_percent(bench, ours.pid),
        }


async def idle_percent(bench: Bench, pid: int) -> float:
    """Of a core, over some seconds in which nothing is asked of the process."""
    cpu, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(QUICK_IDLE_SECONDS if bench.options.quick else IDLE_SECONDS)
    return round((cpu_seconds(pid) - cpu) / (time.monotonic() - began) * 100, 2)


def idle_report(part: Figures) -> list[str]:
    return table("idle", (("MiB", "resident_mib", 1), ("% of a core", "cpu_percent", 2)), {"router": part})
