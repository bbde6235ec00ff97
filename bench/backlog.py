"""What waited at the broker while nobody consumed: how fast it is drained, what that costs, and how much memory it
takes at most. Touches processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import psutil

from bench.harness import PATIENCE_SECONDS, Bench, bare, bridge, has_bridge, on_fresh_store, publish, router, say
from bench.measure import Figures, prepare, receive
from bench.samples import cpu_seconds, family_mib
from bench.tables import ratios, table

EVENTS_TIMES = 4
"""The backlog is so many times the events of a round."""
SAMPLE_SECONDS = 0.1

Start = Callable[[], AbstractAsyncContextManager[int]]


@on_fresh_store
async def backlog(bench: Bench) -> None:
    """A backlog at the broker, drained by the bare loop, the bare bridge and the router."""
    count = bench.options.events * EVENTS_TIMES
    await prepare(bench, "bench_backlog")

    @asynccontextmanager
    async def ours() -> AsyncIterator[int]:
        async with router(bench, "bench_backlog") as started:
            yield started.pid

    found: dict[str, tuple[Start, str]] = {"bare": (lambda: bare(bench), "bench.bare")}
    if has_bridge():
        found["bridge"] = (lambda: bridge(bench), "bench.bridge")
    found["router"] = (ours, "cdr")
    figures = {}
    for name, (start, exchange) in found.items():
        figures[name] = await _drain(bench, start, exchange, count)
        say(f"  {name:7} {figures[name]}")
    bench.figures["backlog"] = {"events": count, "drained": figures}


async def _drain(bench: Bench, start: Start, exchange: str, count: int) -> dict[str, float]:
    """From the moment that it is ready to the last receipt."""
    async with start():
        pass  # it declares its queue, which fills up while it is away
    bench.receiver("/reset")
    await publish(bench, exchange, count)
    started = time.monotonic()
    async with start() as pid:
        ready, cpu, store_cpu = time.monotonic(), cpu_seconds(pid), cpu_seconds(bench.store_pid)
        before = bench.receiver("/count")["count"]
        most = [family_mib(pid)]
        sampling = asyncio.create_task(_sample(pid, most), name="samples")
        await receive(bench, count, patience=PATIENCE_SECONDS + count / 100)
        seconds = time.monotonic() - ready
        await asyncio.sleep(0.5)
        spent, store_spent = cpu_seconds(pid) - cpu, cpu_seconds(bench.store_pid) - store_cpu
        sampling.cancel()
    drained = max(1, count - before)
    return {
        "ready_seconds": round(ready - started, 2),
        "seconds": round(seconds, 1),
        "events_per_second": round(drained / seconds, 1),
        "cpu_us_per_delivery": round(spent / drained * 1e6, 1),
        "store_cpu_us_per_delivery": round(store_spent / drained * 1e6, 1),
        "most_mib": round(max(most), 1),
    }


async def _sample(pid: int, found: list[float]) -> None:
    with suppress(OSError, psutil.NoSuchProcess):
        while True:
            found.append(family_mib(pid))
            await asyncio.sleep(SAMPLE_SECONDS)


def backlog_report(part: Figures) -> list[str]:
    columns = (
        ("seconds", "seconds", 1),
        ("events/s", "events_per_second", 0),
        ("µs CPU per delivery", "cpu_us_per_delivery", 0),
        ("of the store", "store_cpu_us_per_delivery", 0),
        ("MiB at most", "most_mib", 1),
    )
    drained = part["drained"]
    quotients = ratios(drained["router"], drained["bare"], "seconds", "events_per_second", "cpu_us_per_delivery")
    return table(f"backlog of {part['events']:,}", columns, {**drained, "router / bare": quotients})
