"""What a thousand customers, half of them bad, cost the healthy half: latency, memory, descriptors. Touches processes.

Three runs on the same broker, each with a store, a router and customers of its own: the healthy half alone at half
the rate, all healthy, and half of them bad. Bad are 15 % that cannot be connected to, 15 % that never answer, 10 % that
answer after 9 s and 10 % that reset the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import endpoints
from bench.endpoints import Kind
from bench.harness import Bench, define, fresh_store, get_json, process, publish, router, say, webhook
from bench.samples import Sample, after, cpu_seconds, mib_per_minute, take_sample
from router.adapters.embedded.processes import free_ports

RATE = 200
SECONDS = 120
WARM_UP_SECONDS = 5
"""Published before what counts: each endpoint has had its first event then, and its connection."""
LEARNING_SECONDS = 60
"""A router begins without knowing which endpoints are bad. It tries each of them until its circuit opens, after 30 s of
nothing but failures; what this costs is shown on its own."""
GROWN_UP_SECONDS = 20
"""After these a router's memory is that of its load, not that of its start."""
LATE_SECONDS = 60
"""How long after the last publish a receipt is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    name: str
    customers: str
    """`mixed`: half of them bad; `healthy`: none."""
    spread: str
    """Which of them get events."""
    rate: int


def runs(rate: int) -> tuple[Run, Run, Run]:
    """Each healthy endpoint gets as many events in all of them."""
    return (
        Run(name="healthy half alone", customers="mixed", spread="healthy", rate=rate // 2),
        Run(name="all healthy", customers="healthy", spread="all", rate=rate),
        Run(name="half of them bad", customers="mixed", spread="all", rate=rate),
    )


async def isolation(bench: Bench) -> None:
    """The healthy half's latency beside endpoints that hang, time out, are slow or reset."""
    seconds = bench.options.seconds or SECONDS
    rate = bench.options.rate or RATE
    alone, healthy, bad = runs(rate)
    figures = {run.name: await _on_fresh_store(bench, run, seconds) for run in (alone, healthy, bad)}
    bench.figures["isolation"] = {
        "endpoints": endpoints.COUNT,
        "rate": rate,
        "seconds": seconds,
        "runs": figures,
        "p95_ratio": p95_ratio(figures[bad.name], figures[healthy.name]),
    }


async def _on_fresh_store(bench: Bench, run: Run, seconds: float) -> dict[str, Any]:
    async with fresh_store(bench) as fresh:
        return await _measure(fresh, run, seconds)


async def _measure(bench: Bench, run: Run, seconds: float) -> dict[str, Any]:
    port, control_port = free_ports(2)
    database = f"bench_isolation_{run.name.replace(' ', '_')}"
    await _prepare(bench, database, port)
    count = int(run.rate * (seconds + WARM_UP_SECONDS))
    customers = ("-m", "bench.customers", str(port), str(control_port), run.customers)
    async with process(*customers) as customers_pid, router(bench, database) as ours:
        pid = ours.pid
        samples: list[Sample] = []
        sampling = asyncio.create_task(_sample(pid, samples), name="samples")
        cpu, customers_cpu, began = cpu_seconds(pid), cpu_seconds(customers_pid), time.monotonic()
        await publish(bench, "cdr", count, run.rate, spread=run.spread)
        elapsed = time.monotonic() - began
        cpu, customers_cpu = cpu_seconds(pid) - cpu, cpu_seconds(customers_pid) - customers_cpu
        sampling.cancel()
        expected = expected_receipts(run, count)
        await _wait_for_receipts(control_port, expected)
        stats = get_json(control_port, "/stats")
    warm_ns, known_ns = (int((began + start) * 1e9) for start in (WARM_UP_SECONDS, LEARNING_SECONDS))
    receipts = stats["receipts"]
    figures = {
        "rate": run.rate,
        **percentiles(sorted(latency for published_ns, latency in receipts if published_ns >= known_ns)),
        "learning": percentiles(sorted(took for published_ns, took in receipts if warm_ns <= published_ns < known_ns)),
        "not_received": max(0, expected - stats["healthy"]),
        **memory(samples),
        "requests": stats["requests"],
        "published_per_second": round(count / elapsed, 1),
        "router_cpu_percent": round(cpu / elapsed * 100),
        "customers_cpu_percent": round(customers_cpu / elapsed * 100),
    }
    say(f"  {run.name} {figures}")
    return figures


async def _prepare(bench: Bench, database: str, port: int) -> None:
    everybody = range(endpoints.COUNT)
    webhooks = [
        webhook(
            f"wh_{each}",
            endpoints.account_of(each),
            f"http://{endpoints.host_of(each)}:{port}/hook/{each}",
            endpoints.number_of(each),
        )
        for each in everybody
    ]
    await define(bench, database, sorted({endpoints.account_of(each) for each in everybody}), webhooks)


async def _sample(pid: int, samples: list[Sample]) -> None:
    while (sample := take_sample(pid)) is not None:
        samples.append(sample)
        await asyncio.sleep(1)


async def _wait_for_receipts(control_port: int, expected: int) -> None:
    deadline = time.monotonic() + LATE_SECONDS
    while get_json(control_port, "/count")["healthy"] < expected:
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.2)


# --- figures ---------------------------------------------------------------------------------------


def expected_receipts(run: Run, count: int) -> int:
    """How many of `count` events go to a healthy endpoint."""
    targets = endpoints.chosen(run.spread)
    healthy = [run.customers == "healthy" or endpoints.kind_of(each) is Kind.HEALTHY for each in targets]
    return count // len(targets) * sum(healthy) + sum(healthy[: count % len(targets)])


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99 of sorted values; None where there are none."""
    return {
        f"p{percent}_ms": round(latencies_ms[min(len(latencies_ms) - 1, len(latencies_ms) * percent // 100)], 2)
        if latencies_ms
        else None
        for percent in (50, 95, 99)
    }


def memory(samples: Sequence[Sample]) -> dict[str, float | int | None]:
    """Memory and descriptors of the router, those of its first seconds left out where there are enough others."""
    grown = after(samples, GROWN_UP_SECONDS) if samples else ()
    slope = mib_per_minute(grown)
    counted = grown or samples
    return {
        "mib_per_minute": None if slope is None else round(slope, 2),
        "least_mib": round(min(each.resident_mib for each in counted), 1),
        "most_mib": round(max(each.resident_mib for each in counted), 1),
        "descriptors": samples[-1].descriptors,
        "most_descriptors": max(each.descriptors for each in samples),
    }


def p95_ratio(bad: dict[str, Any], good: dict[str, Any]) -> float | None:
    """None where receipts are missing: a percentile of what did come would flatter."""
    if bad["not_received"] or good["not_received"]:
        return None
    if bad["p95_ms"] is None or good["p95_ms"] is None:
        return None
    return round(float(bad["p95_ms"]) / float(good["p95_ms"]), 2)


def isolation_report(part: dict[str, Any]) -> list[str]:
    """The lines of the bench's report."""
    lines = [f"isolation    {part['endpoints']} endpoints, {part['rate']} events/s, {part['seconds']:.0f} s each"]
    for name, at in part["runs"].items():
        missing = f"   {at['not_received']} not received" if at["not_received"] else ""
        lines.append(
            f"{at['rate']:>4}/s {name:18} p50 {_number(at['p50_ms'], 7)} ms   p95 {_number(at['p95_ms'], 7)} ms   "
            f"p99 {_number(at['p99_ms'], 7)} ms{missing}"
        )
    lines += [
        f"       {name:18} first minute: p50 {_number(at['learning']['p50_ms'], 7)} ms   "
        f"p95 {_number(at['learning']['p95_ms'], 7)} ms   p99 {_number(at['learning']['p99_ms'], 7)} ms"
        for name, at in part["runs"].items()
    ]
    lines += [
        f"       {name:18} {at['least_mib']:.1f} to {at['most_mib']:.1f} MiB, "
        f"{_number(at['mib_per_minute'], 0, '+')} MiB per minute; {at['most_descriptors']} descriptors at most"
        for name, at in part["runs"].items()
    ]
    ratio = _number(part["p95_ratio"], 8, digits=2)
    lines.append(f"p95 ratio    {ratio} (half of them bad / all healthy, after the first minute)")
    return lines


def _number(value: float | None, width: int, sign: str = "", *, digits: int = 1) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:{sign}{width}.{digits}f}"
