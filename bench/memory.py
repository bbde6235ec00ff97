"""What a delivery costs in memory while it waits there, and that one that waits in the store costs none. Touches
processes and sockets of loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from bench import endpoints
from bench.harness import PATIENCE_SECONDS, Bench, Router, define, on_fresh_store, publish, router, say, webhook
from bench.measure import Figures, run_load
from bench.samples import resident_mib
from bench.tables import table
from router.application.lanes import HELD_PER_PLACE

WARM_UP = 2_000
"""Delivered first: after them a router's memory is that of its load, not that of its start."""
ENDPOINTS = 40
STEP, QUICK_STEP = 1_000, 200
HELD_STEPS = 4
"""So many steps fit into memory."""
STORE_STEPS = 4
"""So many more find no place there, and wait in the store."""
SETTLE_SECONDS = 2.0


def settings(step: int) -> dict[str, str]:
    """One attempt at a time, that outlasts the measurement: nearly all that is held waits in its lane."""
    return {
        "ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": "300",
        "ROUTER_DELIVERY__MAX_IN_FLIGHT_PER_WEBHOOK": "1",
        "ROUTER_DELIVERY__MAX_IN_FLIGHT": str(step * HELD_STEPS // HELD_PER_PLACE),
    }


@on_fresh_store
async def memory(bench: Bench) -> None:
    """The router's memory with ever more deliveries for endpoints that never answer."""
    step = QUICK_STEP if bench.options.quick else STEP
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    silent = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    everybody = range(ENDPOINTS)
    webhooks = [webhook(f"wh_{n}", endpoints.account_of(n), silent, endpoints.number_of(n)) for n in everybody]
    accounts = sorted({endpoints.account_of(n) for n in everybody})
    mine = webhook("wh_bench", "bench", bench.target)
    await define(bench, "bench_memory", ["bench", *accounts], [mine, *webhooks])
    try:
        async with router(bench, "bench_memory", **settings(step)) as ours:
            await run_load(bench, ours.pid, "cdr", min(WARM_UP, bench.options.events))
            steps = [await _step(bench, ours, number, step) for number in range(HELD_STEPS + STORE_STEPS + 1)]
            os.kill(ours.pid, signal.SIGKILL)  # its shutdown would wait for the attempts
    finally:
        server.close()
    bench.figures["memory"] = {"steps": steps, **growth(steps)}


async def _step(bench: Bench, ours: Router, number: int, size: int) -> dict[str, float]:
    """Memory after so many steps, of which this is the last."""
    if number:
        before = ours.metric('events_stored_total{type="cdr"}')
        await publish(bench, "cdr", size, spread=str(ENDPOINTS))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ours.metric('events_stored_total{type="cdr"}') < before + size:
            if time.monotonic() > deadline:
                raise SystemExit("the events of the memory measurement were not stored")
            await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLE_SECONDS)
    found = {"published": number * size, "held": ours.metric("held"), "resident_mib": round(resident_mib(ours.pid), 2)}
    say(f"  {found}")
    return found


def growth(steps: list[dict[str, float]]) -> dict[str, float | None]:
    """KiB for each delivery that is held, and for each that waits in the store. The first step is not counted: what was
    freed before is used up in it."""
    held, stored = steps[1 : HELD_STEPS + 1], steps[HELD_STEPS + 1 :]
    return {
        "kib_per_held": _kib_per(held[0], held[-1], "held"),
        "kib_per_stored": _kib_per(stored[0], stored[-1], "published"),
    }


def _kib_per(first: dict[str, float], last: dict[str, float], what: str) -> float | None:
    more = last[what] - first[what]
    return round((last["resident_mib"] - first["resident_mib"]) * 1024 / more, 2) if more else None


def memory_report(part: Figures) -> list[str]:
    columns = (("held", "held", 0), ("MiB", "resident_mib", 1), ("KiB per delivery", "kib", 2))
    rows = {f"{at['published']:,} published": at for at in part["steps"]}
    grown = {"grown by, held": {"kib": part["kib_per_held"]}, "in the store": {"kib": part["kib_per_stored"]}}
    return table("memory", columns, {**rows, **grown})
