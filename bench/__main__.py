"""Measures the router beside a bare loop, in one run: same broker, same receiver, same body.

    python -m bench                    everything
    python -m bench --only throughput  throughput, latency, definitions, idle or isolation
    python -m bench --json             the figures as JSON on stdout

Figures are CPU times of the measured process (user and system), which a busy neighbour disturbs less than
throughput, and latencies from just before the publish to the receipt. Compare within one run only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import PATIENCE_SECONDS, Bench, bare, cpu_seconds, define, process, publish, router, say, webhook
from bench.isolation import isolation, isolation_report
from bench.reader import reader, reader_report
from bench.samples import resident_mib
from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.processes import free_ports
from router.adapters.embedded.store import EmbeddedStore

# --- measuring -------------------------------------------------------------------------------------


async def run_load(bench: Bench, pid: int, exchange: str, count: int, rate: float) -> dict[str, float]:
    """Publish, wait until everything was received, and say what it cost process `pid`."""
    bench.receiver("/reset")
    cpu, began = cpu_seconds(pid), time.monotonic()
    await publish(bench, exchange, count, rate)
    while (received := bench.receiver("/count")["count"]) < count:
        if time.monotonic() - began > PATIENCE_SECONDS + count / (rate or count):
            raise SystemExit(f"only {received} of {count} events were received")
        await asyncio.sleep(0.05)
    elapsed = time.monotonic() - began
    await asyncio.sleep(0.5)  # what follows the receipt (recording, acks) belongs to the cost
    spent = cpu_seconds(pid) - cpu
    latencies = sorted(bench.receiver("/stats")["latencies_ms"])
    at = statistics.quantiles(latencies, n=100)
    return {
        "events_per_second": round(count / elapsed, 1),
        "cpu_us_per_delivery": round(spent / count * 1e6, 1),
        "p50_ms": round(at[49], 2),
        "p95_ms": round(at[94], 2),
        "p99_ms": round(at[98], 2),
    }


async def prepare(bench: Bench, database: str, *, others: int = 0) -> None:
    """One account with one webhook for every cdr, and `others` webhooks of other accounts."""
    mine = webhook("wh_bench", "bench", bench.target)
    theirs = [webhook(f"wh_{n}", f"other-{n // 5}", bench.target) for n in range(others)]
    await define(bench, database, ["bench"], [mine, *theirs])


# --- the measurements ------------------------------------------------------------------------------


async def throughput(bench: Bench) -> None:
    """The bare loop and the router in turns; the median of the rounds."""
    rounds: dict[str, list[dict[str, float]]] = {"bare": [], "router": []}
    await prepare(bench, "bench_throughput")
    async with bare(bench) as bare_pid, router(bench, "bench_throughput") as router_pid:
        # Once unmeasured: connections, caches and prefetch are warm in both.
        await run_load(bench, bare_pid, "bench.bare", 500, 0)
        await run_load(bench, router_pid, "cdr", 500, 0)
        for number in range(bench.options.rounds):
            for name, pid, exchange in (("bare", bare_pid, "bench.bare"), ("router", router_pid, "cdr")):
                figures = await run_load(bench, pid, exchange, bench.options.events, 0)
                rounds[name].append(figures)
                say(f"  round {number + 1} {name:7} {figures}")
    result = {
        name: {
            key: statistics.median(each[key] for each in figures)
            for key in ("events_per_second", "cpu_us_per_delivery")
        }
        for name, figures in rounds.items()
    }
    ratio = result["router"]["cpu_us_per_delivery"] / result["bare"]["cpu_us_per_delivery"]
    bench.figures["throughput"] = {**result, "cpu_ratio": round(ratio, 2)}


async def latency(bench: Bench) -> None:
    """From publish to receipt at steady rates."""
    await prepare(bench, "bench_latency")
    figures: dict[str, Any] = {}
    async with bare(bench) as bare_pid, router(bench, "bench_latency") as router_pid:
        await run_load(bench, bare_pid, "bench.bare", 200, 0)
        await run_load(bench, router_pid, "cdr", 200, 0)
        for rate in (50, 200, 500):
            count = int(rate * (bench.options.seconds or 10))
            for name, pid, exchange in (("bare", bare_pid, "bench.bare"), ("router", router_pid, "cdr")):
                figures.setdefault(str(rate), {})[name] = measured = await run_load(bench, pid, exchange, count, rate)
                say(f"  {rate}/s {name:7} {measured}")
    bench.figures["latency"] = figures


async def definitions(bench: Bench) -> None:
    """The cost per event with ever more webhooks of other accounts."""
    figures: dict[str, float] = {}
    for others in (1, 1_000, 100_000):
        database = f"bench_definitions_{others}"
        await prepare(bench, database, others=others)
        async with router(bench, database) as pid:
            await run_load(bench, pid, "cdr", 500, 0)
            costs = [
                (await run_load(bench, pid, "cdr", bench.options.events, 0))["cpu_us_per_delivery"]
                for _ in range(bench.options.rounds)
            ]
        figures[str(others)] = statistics.median(costs)
        say(f"  {others} webhooks of others: {costs}")
    least = min(figures.values())
    bench.figures["definitions"] = {
        "cpu_us_per_delivery": figures,
        "spread_percent": round((max(figures.values()) / least - 1) * 100, 1),
    }


async def idle(bench: Bench) -> None:
    """Memory and CPU of a router that has nothing to do."""
    await prepare(bench, "bench_idle")
    async with router(bench, "bench_idle") as pid:
        await asyncio.sleep(3)
        cpu, began = cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(20)
        share = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
        bench.figures["idle"] = {"resident_mib": round(resident_mib(pid), 1), "cpu_percent": round(share * 100, 2)}


MEASUREMENTS = {
    "throughput": throughput,
    "latency": latency,
    "definitions": definitions,
    "idle": idle,
    "isolation": isolation,
    "reader": reader,
}


async def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="one measurement; may be repeated")
    parser.add_argument("--events", type=int, default=5_000, help="events per round (5000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--seconds", type=float, help="seconds per rate (10), of each run of isolation (120)")
    parser.add_argument("--rate", type=int, help="events per second of isolation (200)")
    parser.add_argument("--deliveries", type=int, default=30_000, help="deliveries in the log of reader (30000)")
    parser.add_argument("--visits", type=int, default=40, help="visits of each page of reader (40)")
    parser.add_argument("--driver", choices=("motor", "pymongo"), help="MongoDB driver of the router")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    options = parser.parse_args()
    allow_descriptors()

    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        node = RabbitNode(directory=Path(folder) / "rabbitmq")
        node.start()
        store = await EmbeddedStore.open(Path(folder))
        try:
            async with process("-m", "bench.receiver", str(port)):
                bench = Bench(node.url, store.url, port, options, {"machine": _machine()})
                for name in options.only or MEASUREMENTS:
                    say(f"{name}: {MEASUREMENTS[name].__doc__}")
                    await MEASUREMENTS[name](bench)
        finally:
            await store.close()
            node.stop()
    print(json.dumps(bench.figures, indent=2) if options.json else _report(bench.figures))


def allow_descriptors() -> None:
    """As many as the machine lets us have, and our children: a thousand endpoints need more than the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def _report(figures: dict[str, Any]) -> str:
    lines = [f"machine      {figures['machine']}"]
    if part := figures.get("throughput"):
        lines += [
            f"{name:12} {part[name]['events_per_second']:8.0f} events/s "
            f"{part[name]['cpu_us_per_delivery']:8.0f} µs CPU per delivery"
            for name in ("bare", "router")
        ]
        lines.append(f"CPU ratio    {part['cpu_ratio']:8.2f} (router / bare)")
    lines += [
        f"{rate:>4}/s {name:7} p50 {at['p50_ms']:7.1f} ms   p95 {at['p95_ms']:7.1f} ms   p99 {at['p99_ms']:7.1f} ms"
        for rate, each in figures.get("latency", {}).items()
        for name, at in each.items()
    ]
    if part := figures.get("definitions"):
        costs = ", ".join(f"{count}: {cost:.0f} µs" for count, cost in part["cpu_us_per_delivery"].items())
        lines.append(f"definitions  {costs}; spread {part['spread_percent']} %")
    if part := figures.get("idle"):
        lines.append(f"idle         {part['resident_mib']} MiB, {part['cpu_percent']} % of a core")
    if part := figures.get("isolation"):
        lines += isolation_report(part)
    if part := figures.get("reader"):
        lines += reader_report(part)
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(main())
