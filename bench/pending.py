"""What deliveries cost that wait for a retry in hours: claims, an idle router, live traffic, memory, the store's files.
Touches processes and the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from bench.basic import WARM_UP, idle_percent
from bench.claims import claim_costs
from bench.harness import Bench, define, fresh_store, on_fresh_store, router, say, webhook
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
DUE_LEVELS = (100, 1_000, 10_000)
CLAIM_COLUMNS = (
    *((f"p{percent} ms", f"p{percent}_ms", 1) for percent in (50, 95)),
    *(("ms CPU", "cpu_ms", 1), ("of the store", "store_cpu_ms", 1), ("commands", "commands", 0)),
    *(("keys", "keys_examined", 0), ("documents examined", "documents_examined", 0), ("found by", "plan", 0)),
)
IDLE_COLUMNS = (
    *(("MiB", "resident_mib", 1), ("% of a core", "idle_percent", 2), ("ready after s", "ready_seconds", 1)),
    ("MiB of the store's files", "store_mib", 0),
)
LIVE_COLUMNS = (
    *(("events/s", "events_per_second", 0), ("µs CPU per delivery", "cpu_us_per_delivery", 0)),
    *(("of the store", "store_cpu_us_per_delivery", 0), (f"p95 ms at {STEADY_RATE}/s", "p95_ms", 1)),
)
CLAIM_RATIOS = ("p50_ms", "p95_ms", "cpu_ms", "store_cpu_ms")


async def pending(bench: Bench) -> None:
    """Claims, an idle router and live traffic beside deliveries that wait for a retry."""
    levels = (0, 1_000, bench.options.pending)
    figures = {}
    for count in levels:
        async with fresh_store(bench) as fresh:
            figures[str(count)] = await _beside(fresh, count)
        say(f"  {count} waiting: {figures[str(count)]}")
    bench.figures["pending"] = figures


@asynccontextmanager
async def database_of(bench: Bench) -> AsyncIterator[Any]:
    """A database with its indexes, and with the definitions of what waits and of what is published."""
    waiting = [webhook(webhook_of(n), account_of(n), URL) for n in range(ACCOUNTS)]
    mine = webhook("wh_bench", "bench", bench.target)
    await define(bench, DATABASE, ["bench", *(account_of(n) for n in range(ACCOUNTS))], [mine, *waiting])
    async with router(bench, DATABASE):
        pass  # it makes the indexes
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bench.mongo_url)
    try:
        yield client[DATABASE]
    finally:
        await client.close()


async def _beside(bench: Bench, count: int) -> dict[str, Any]:
    async with database_of(bench) as database:
        now, before, began = datetime.now(UTC), _mib(bench.store_folder), time.monotonic()
        await seed(database, "later", count, now + timedelta(hours=2), over=timedelta(hours=8))
        if count:
            say(f"  {count} were written in {time.monotonic() - began:.0f} s")
        store_mib = _mib(bench.store_folder) - before
        await seed(database, "due", DUE, now - timedelta(minutes=1))
        claim = await claim_costs(bench, DATABASE, CLAIMS_PER_ROUND * bench.options.rounds)
        await database["deliveries"].delete_many({"due_at": {"$lt": now + timedelta(hours=1)}})
    return {"claim": claim, "store_mib": round(store_mib, 1), **await _traffic(bench)}


async def _traffic(bench: Bench) -> dict[str, float]:
    """A router that has nothing to do, and one that has."""
    async with router(bench, DATABASE) as ours:
        await asyncio.sleep(SETTLE_SECONDS)
        at_start = resident_mib(ours.pid)
        share = await idle_percent(bench, ours.pid)
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


@on_fresh_store
async def due(bench: Bench) -> None:
    """Claims while ever more deliveries are due: a backlog of retries."""
    async with database_of(bench) as database:
        figures, there, now = {}, 0, datetime.now(UTC)
        for count in DUE_LEVELS:
            if count > max(DUE, bench.options.pending):
                break
            await seed(database, f"due-{count}", count - there, now - timedelta(minutes=1))
            there = count
            figures[str(count)] = await claim_costs(bench, DATABASE, 10 * bench.options.rounds)
            say(f"  {count} due: {figures[str(count)]}")
    bench.figures["due"] = figures


def due_report(part: Figures) -> list[str]:
    rows = {f"{int(count):,} due": _claim_row(at) for count, at in part.items()}
    few, most = next(iter(part)), list(part)[-1]
    quotients = ratios(part[most], part[few], *CLAIM_RATIOS)
    title = f"claim of {part[few]['claimed']}"
    return table(title, CLAIM_COLUMNS, {**rows, f"{int(most):,} / {int(few):,}": quotients})


def pending_report(part: Figures) -> list[str]:
    few, most = part["1000"], list(part.values())[-1]
    what = f"{int(list(part)[-1]):,} / 1,000"
    rows = {f"{int(count):,} wait": at for count, at in part.items()}
    claims = {name: _claim_row(at["claim"]) for name, at in rows.items()}
    return [
        *table(
            f"claim of {few['claim']['claimed']}",
            CLAIM_COLUMNS,
            {**claims, what: ratios(most["claim"], few["claim"], *CLAIM_RATIOS)},
        ),
        *table("idle beside them", IDLE_COLUMNS, {**rows, what: ratios(most, few, "resident_mib", "idle_percent")}),
        *table(
            "live beside them", LIVE_COLUMNS, {**rows, what: ratios(most, few, *(name for _, name, _ in LIVE_COLUMNS))}
        ),
    ]


def _claim_row(claim: dict[str, Any]) -> dict[str, Any]:
    return claim | {"commands": sum(claim["commands"].values()), "plan": claim["stages"][-1]}
