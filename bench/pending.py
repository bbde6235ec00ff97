"""What deliveries cost that wait for a retry in hours: claims, an idle router, live traffic, memory, the store's files.
Touches processes and the store."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from bench.basic import WARM_UP, idle_percent
from bench.claims import claim_costs
from bench.harness import Bench, define, fresh_store, router, say, webhook
from bench.measure import Figures, medians, run_load
from bench.samples import resident_mib
from bench.seeds import ACCOUNTS, URL, account_of, seed, webhook_of
from bench.tables import ratios, table

DATABASE = "bench_pending"
DUE = 100
CLAIMS_PER_ROUND = 50
STEADY_RATE = 200
SECONDS = 10
SETTLE_SECONDS = 3


async def pending(bench: Bench) -> None:
    """Claims, an idle router and live traffic beside deliveries that wait for a retry."""
    levels = (0, 1_000, bench.options.pending)
    figures = {}
    for count in levels:
        async with fresh_store(bench) as fresh:
            figures[str(count)] = await _beside(fresh, count)
        say(f"  {count} waiting: {figures[str(count)]}")
    bench.figures["pending"] = figures


async def _beside(bench: Bench, count: int) -> dict[str, Any]:
    waiting = [webhook(webhook_of(n), account_of(n), URL) for n in range(ACCOUNTS)]
    mine = webhook("wh_bench", "bench", bench.target)
    await define(bench, DATABASE, ["bench", *(account_of(n) for n in range(ACCOUNTS))], [mine, *waiting])
    async with router(bench, DATABASE):
        pass  # it makes the indexes
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bench.mongo_url)
    try:
        now, before = datetime.now(UTC), _mib(bench.store_folder)
        began = time.monotonic()
        await seed(client[DATABASE], "later", count, now + timedelta(hours=2), over=timedelta(hours=8))
        if count:
            say(f"  {count} were written in {time.monotonic() - began:.0f} s")
        store_mib = _mib(bench.store_folder) - before
        await seed(client[DATABASE], "due", DUE, now - timedelta(minutes=1))
        claim = await claim_costs(bench, DATABASE, CLAIMS_PER_ROUND * bench.options.rounds)
        await client[DATABASE]["deliveries"].delete_many({"due_at": {"$lt": now + timedelta(hours=1)}})
    finally:
        await client.close()
    return {"claim": claim, "store_mib": round(store_mib, 1), **await _traffic(bench)}


async def _traffic(bench: Bench) -> dict[str, float]:
    """A router that has nothing to do, and one that has."""
    async with router(bench, DATABASE) as ours:
        await asyncio.sleep(SETTLE_SECONDS)
        at_start = resident_mib(ours.pid)
        share = await idle_percent(ours.pid)
        await run_load(bench, ours.pid, "cdr", WARM_UP)
        rounds = [await run_load(bench, ours.pid, "cdr", bench.options.events) for _ in range(bench.options.rounds)]
        count = int(STEADY_RATE * (bench.options.seconds or SECONDS))
        steady = await run_load(bench, ours.pid, "cdr", count, STEADY_RATE)
    return {
        "ready_seconds": ours.ready_seconds,
        "resident_mib": round(at_start, 1),
        "idle_percent": share,
        **medians(rounds, "events_per_second", "cpu_us_per_delivery", "store_cpu_us_per_delivery"),
        "p95_ms": steady["p95_ms"],
    }


def _mib(folder: Path) -> float:
    """What the files of a folder take."""
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file()) / 2**20


def pending_report(part: Figures) -> list[str]:
    claim = (
        *((f"p{percent} ms", f"p{percent}_ms", 1) for percent in (50, 95)),
        *(("ms CPU", "cpu_ms", 1), ("of the store", "store_cpu_ms", 1), ("commands", "commands", 0)),
        *(("keys", "keys_examined", 0), ("documents examined", "documents_examined", 0), ("found by", "plan", 0)),
    )
    beside = (
        *(("MiB", "resident_mib", 1), ("idle % of a core", "idle_percent", 2), ("ready after s", "ready_seconds", 1)),
        *(("live events/s", "events_per_second", 0), ("µs CPU per delivery", "cpu_us_per_delivery", 0)),
        *(("of the store", "store_cpu_us_per_delivery", 0), (f"p95 ms at {STEADY_RATE}/s", "p95_ms", 1)),
        ("MiB of files", "store_mib", 0),
    )
    few, most = part["1000"], list(part.values())[-1]
    what = f"{int(list(part)[-1]):,} / 1,000"
    claims = {f"{int(count):,} wait": _claim_row(at["claim"]) for count, at in part.items()}
    claims[what] = ratios(most["claim"], few["claim"], "p50_ms", "p95_ms", "cpu_ms", "store_cpu_ms")
    live = {f"{int(count):,} wait": at for count, at in part.items()}
    live[what] = ratios(most, few, "resident_mib", "idle_percent", "cpu_us_per_delivery", "store_cpu_us_per_delivery")
    return [*table(f"claim of {few['claim']['claimed']}", claim, claims), *table("beside them", beside, live)]


def _claim_row(claim: dict[str, Any]) -> dict[str, Any]:
    return claim | {"commands": sum(claim["commands"].values()), "plan": claim["stages"][-1]}
