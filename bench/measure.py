"""What most measurements have in common: a load that is published, received and paid for. Touches processes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from bench.harness import PATIENCE_SECONDS, Bench, bare, bridge, define, has_bridge, publish, router, say, webhook
from bench.samples import cpu_seconds

Contenders = dict[str, tuple[int, str]]
"""Name, process, and the exchange that it hears."""


async def run_load(
    bench: Bench, pid: int, exchange: str, count: int, rate: float = 0, *, copies: int = 1, size: int = 0
) -> dict[str, float]:
    """Publish `count` events, wait until each was received `copies` times, and say what it cost process `pid`, its
    children, and the store."""
    bench.receiver("/reset")
    cpu, store_cpu, began = cpu_seconds(pid), cpu_seconds(bench.store_pid), time.monotonic()
    await publish(bench, exchange, count, rate, size=size)
    await receive(bench, count * copies, patience=PATIENCE_SECONDS + count / (rate or count))
    elapsed = time.monotonic() - began
    await asyncio.sleep(0.5)  # what follows the receipt (recording, acks) belongs to the cost
    spent, store_spent = cpu_seconds(pid) - cpu, cpu_seconds(bench.store_pid) - store_cpu
    latencies = sorted(bench.receiver("/stats")["latencies_ms"])
    at = statistics.quantiles(latencies, n=100)
    deliveries = count * copies
    return {
        "events_per_second": round(count / elapsed, 1),
        "cpu_us_per_delivery": round(spent / deliveries * 1e6, 1),
        "store_cpu_us_per_delivery": round(store_spent / deliveries * 1e6, 1),
        "p50_ms": round(at[49], 2),
        "p95_ms": round(at[94], 2),
        "p99_ms": round(at[98], 2),
    }


async def receive(bench: Bench, count: int, *, patience: float) -> None:
    """Wait until the receiver has `count` events."""
    began = time.monotonic()
    while (received := bench.receiver("/count")["count"]) < count:
        if time.monotonic() - began > patience:
            raise SystemExit(f"only {received} of {count} events were received")
        await asyncio.sleep(0.05)


async def prepare(bench: Bench, database: str, *, others: int = 0, copies: int = 1) -> None:
    """One account with `copies` webhooks for every cdr, and `others` webhooks of other accounts."""
    mine = [webhook(f"wh_bench_{n}", "bench", bench.target) for n in range(copies)]
    theirs = [webhook(f"wh_{n}", f"other-{n // 5}", bench.target) for n in range(others)]
    await define(bench, database, ["bench"], [*mine, *theirs])


@asynccontextmanager
async def contenders(bench: Bench, database: str) -> AsyncIterator[Contenders]:
    """The bare loop, the bare bridge where it is installed, and the router, to be measured in turns."""
    async with AsyncExitStack() as stack:
        found = {"bare": (await stack.enter_async_context(bare(bench)), "bench.bare")}
        if has_bridge():
            found["bridge"] = (await stack.enter_async_context(bridge(bench)), "bench.bridge")
        else:
            say("  without the bare bridge: `make bench` installs it")
        await prepare(bench, database)
        found["router"] = ((await stack.enter_async_context(router(bench, database))).pid, "cdr")
        yield found


def medians(rounds: Sequence[dict[str, float]], *names: str) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in names}


Figures = dict[str, Any]
